"""Weights in an ONNX file: float16 where that loses nothing, with a Cast to float32 behind.

A bundle's weights are rounded to float16 before its graph is written (`engine.export.export_bundle`), so float32 would
store every one of them twice as large as it is. Compilers fold the Casts; what rewrites a graph takes it `widened`.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

MIN_SIZE = 1024  # elements: a Cast takes some 100 bytes, and a node


def narrowed(model: ModelProto) -> ModelProto:
    """`model`, changed in place: its large float32 constants that float16 holds exactly are stored as that."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < MIN_SIZE:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.array_equal(half, values):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
            cast = helper.make_node("Cast", [tensor.name], [name], name=f"widen_{name}", to=TensorProto.FLOAT)
            casts.append(cast)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def widened(model: ModelProto) -> ModelProto:
    """`model`, changed in place: `narrowed` undone."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    nodes = []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in stored and node.attribute[0].i == TensorProto.FLOAT:
            tensor = stored[node.input[0]]
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), node.output[0]))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model
