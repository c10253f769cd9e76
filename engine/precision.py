"""A float32 graph in half precision, fp16 or bf16, with float32 where half is not enough.

Convolutions, matrix products and what lies between them become half. These stay float32:

- LayerNorm, softmax and means: they sum many values (FP16 LayerNorm of a Video Swin overflows);
- normalisation of pictures, which costs nothing: a compiler fuses it with the cast that follows;
- the memory: gates, cell and hidden state are carried for hours, so they are not rounded on the way; only the
  convolutions of the gates are half;
- the logits, once the classifiers' products are there. No product is float32: Turing has none (TensorRT for RTX).

Inputs and outputs keep their types. A bundle holds the float32 graph alone; this is made of it when an engine is
built, the same every time. Q/DQ nodes become half with their neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engine.narrow import widened

Half = Literal["fp16", "bf16"]

BF16_OPSET = 22  # the first in which convolutions take bf16
PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
FLOAT32 = frozenset({"Cast", "Constant", "LayerNormalization", "ReduceMean", "ReduceSum", "Sigmoid", "Softmax", "Tanh"})
ELEMENTWISE = frozenset({"Add", "Div", "Mul", "Sub"})
QUANTISATION = frozenset({"QuantizeLinear", "DequantizeLinear"})
TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
MAX_SCALE_ERROR = 2.0**-9  # relative; more is a scale among fp16's smallest numbers


def to_half(model: ModelProto, half: Half) -> ModelProto:
    """`model` in half precision; the argument stays as it is.

    Raises ValueError where a weight is too large for fp16.
    """
    model = widened(onnx.version_converter.convert_version(model, BF16_OPSET) if half == "bf16" else _copy(model))
    graph = model.graph
    values = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    floats = {
        value.name
        for value in (*values.value_info, *values.input, *values.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    kept = _kept(graph, floats, weights)
    lowered = {
        name for number, node in enumerate(graph.node) if number not in kept for name in node.output if name in floats
    }
    casts = _Casts(half, weights, lowered)
    nodes: list[NodeProto] = []
    for number, node in enumerate(graph.node):
        if number in kept:
            nodes += casts.inputs(node, [name for name in node.input if name in lowered], TensorProto.FLOAT)
        else:
            names = [name for name in node.input if name in weights or (name in floats and name not in lowered)]
            nodes += casts.inputs(node, names, TYPES[half])
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    initializers = [tensor for tensor in (*graph.initializer, *casts.made) if tensor.name in used]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(initializers)
    return model


def _copy(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _kept(graph: onnx.GraphProto, floats: set[str], weights: dict[str, TensorProto]) -> set[int]:
    """Numbers of the nodes that are not lowered: those of float32, and those that have to do with no float at all."""
    maker = {name: number for number, node in enumerate(graph.node) for name in node.output}
    kept = _back(graph, maker, [output.name for output in graph.output])
    for number, node in enumerate(graph.node):
        if not {*node.input, *node.output} & (floats | weights.keys()) or node.op_type in FLOAT32:
            kept.add(number)
        elif node.op_type in ELEMENTWISE:  # of float32 alone: normalisation, the memory
            inputs = [name for name in node.input if name in floats and name not in weights]
            if inputs and all(maker.get(name) in kept for name in inputs):
                kept.add(number)
        elif node.op_type in QUANTISATION and node.input[1] in weights:
            scale = numpy_helper.to_array(weights[node.input[1]])
            if not np.allclose(scale.astype(np.float16), scale, rtol=MAX_SCALE_ERROR, atol=0):
                kept.add(number)
    return kept


def _back(graph: onnx.GraphProto, maker: dict[str, int], outputs: Iterable[str]) -> set[int]:
    """The nodes that lead to `outputs` from the last products."""
    found: set[int] = set()
    stack = [maker[name] for name in outputs]
    while stack:
        number = stack.pop()
        node = graph.node[number]
        if number not in found and node.op_type not in PRODUCTS:
            found.add(number)
            stack += [maker[name] for name in node.input if name in maker]
    return found


class _Casts:
    """Values in the other type, each cast once, and weights converted once."""

    def __init__(self, half: Half, weights: dict[str, TensorProto], lowered: set[str]) -> None:
        self._half: Half = half
        self._weights = weights
        self._lowered = lowered
        self._names: dict[tuple[str, int], str] = {}
        self.made: list[TensorProto] = []

    def inputs(self, node: NodeProto, names: Iterable[str], to: int) -> list[NodeProto]:
        """Let `node` read `names` as type `to`; the casts that must stand before it."""
        nodes = []
        for name in dict.fromkeys(names):
            if (name, to) not in self._names:
                new = f"{name}_{self._half if to != TensorProto.FLOAT else 'fp32'}"
                self._names[name, to] = new
                if name in self._weights:
                    self.made.append(_half_weights(self._weights[name], new, self._half))
                else:
                    nodes.append(helper.make_node("Cast", [name], [new], name=f"cast_{new}", to=to))
            new = self._names[name, to]
            node.input[:] = [new if old == name else old for old in node.input]
        return nodes


def _half_weights(tensor: TensorProto, name: str, half: Half) -> TensorProto:
    values: npt.NDArray[np.float32] = numpy_helper.to_array(tensor)
    if half == "bf16":
        bits = _round_to_bf16(values)
        return helper.make_tensor(name, TensorProto.BFLOAT16, tensor.dims, bits.tobytes(), raw=True)
    if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
        raise ValueError(f"{tensor.name} holds values that fp16 cannot: use bf16")
    return numpy_helper.from_array(values.astype(np.float16), name)


def _round_to_bf16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The upper halves of float32's bits, to the nearest, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
