"""The layers of an ONNX graph that int8 is for, and the graph with Q/DQ nodes round them.

A layer is a convolution or a matrix product with constant weights: nearly all of a network's multiply-adds. Its input
gets a Q/DQ pair with one symmetric int8 scale, its weights a scale per output channel. Biases, outputs, softmax,
LayerNorm and the products inside attention stay as they are. That is what TensorRT's parser takes (it refuses int32
biases, and quantised outputs cost accuracy without making anything faster), and OpenVINO and ONNX Runtime too.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from engine.narrow import widened

OPERATORS = ("Conv", "MatMul", "Gemm")
OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": list(OPERATORS),
}


@dataclass(frozen=True)
class Layer:
    """A node with constant weights. activation: the tensor that it reads. parameters: of its weights."""

    name: str
    operator: str
    activation: str
    weights: str
    parameters: int


@dataclass(frozen=True)
class Smoothing:
    """SmoothQuant for one product: the channels of its input are divided by `scales`, its weights' rows multiplied.

    norm: name of the LayerNorm whose scale and bias take the division, so that it costs nothing.
    """

    layer: str
    norm: str
    scales: npt.NDArray[np.float32]


def load(path: str) -> ModelProto:
    """A graph with float32 weights and the types of its tensors inferred: the quantiser needs both."""
    return onnx.shape_inference.infer_shapes(widened(onnx.load(path)))


def layers(model: ModelProto) -> list[Layer]:
    """In the order of the graph."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    return [
        Layer(node.name, node.op_type, node.input[0], node.input[1], sizes[node.input[1]])
        for node in model.graph.node
        if node.op_type in OPERATORS and node.input[1] in sizes and node.input[0] not in sizes
    ]


def with_outputs(model: ModelProto, tensors: Iterable[str]) -> bytes:
    """The graph with more of its tensors as outputs, serialised."""
    seen = copy.deepcopy(model)
    known = {value.name for value in (*seen.graph.output, *seen.graph.input)}
    for name in tensors:
        if name not in known:
            seen.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return bytes(seen.SerializeToString())


def quantised(model: ModelProto, limits: Mapping[str, float], chosen: Iterable[Layer]) -> bytes:
    """The graph with the chosen layers in int8, serialised. limits: by activation, see calibration.ranges."""
    names = [layer.name for layer in chosen]
    if not names:
        return bytes(model.SerializeToString())
    ranges = {tensor: (np.float32(-limit), np.float32(limit)) for tensor, limit in limits.items()}
    quantiser = QDQQuantizer(
        copy.deepcopy(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=names,
        nodes_to_exclude=[],
        op_types_to_quantize=list(OPERATORS),
        extra_options=OPTIONS,
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    return bytes(quantiser.model.model.SerializeToString())


def smoothable(model: ModelProto) -> dict[str, str]:
    """Layers whose input comes from a LayerNorm that feeds nothing else: layer by name, name of the LayerNorm.

    Between the two only tokens may be moved about: the last axis must be the LayerNorm's channels all the way.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    readers = Counter(name for node in model.graph.node for name in node.input)
    readers.update(value.name for value in model.graph.output)
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    shapes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
    found = {}
    for layer in layers(model):
        tensor, channels = layer.activation, weights[layer.weights][0]
        if layer.operator != "MatMul":
            continue
        while readers[tensor] == 1 and tensor in makers and shapes[tensor][-1].dim_value == channels:
            maker = makers[tensor]
            if maker.op_type == "LayerNormalization" and len(maker.input) == 3:
                found[layer.name] = maker.name
            if not _moves_tokens(maker, len(shapes[tensor])):
                break
            tensor = maker.input[0]
    return found


def _moves_tokens(node: NodeProto, axes: int) -> bool:
    """Whether the last of the output's axes may be the input's, moved about by the others only."""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    return node.op_type == "Reshape" or (node.op_type == "Gather" and 0 <= axis < axes - 1)


def smoothed(model: ModelProto, smoothings: Iterable[Smoothing]) -> ModelProto:
    """The same function in other numbers. A weight or a LayerNorm's scale that others read too is copied first."""
    out = copy.deepcopy(model)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in out.graph.initializer}
    nodes = {node.name: node for node in out.graph.node}
    for smoothing in smoothings:
        norm, product = nodes[smoothing.norm], nodes[smoothing.layer]
        for node, place, factor in (
            (norm, 1, 1 / smoothing.scales),
            (norm, 2, 1 / smoothing.scales),
            (product, 1, smoothing.scales[:, None]),
        ):
            name = f"{node.input[place]}_smooth_{smoothing.layer}"
            out.graph.initializer.append(numpy_helper.from_array(arrays[node.input[place]] * factor, name))
            node.input[place] = name
    used = {name for node in out.graph.node for name in node.input}
    kept = [tensor for tensor in out.graph.initializer if tensor.name in used]
    del out.graph.initializer[:]
    out.graph.initializer.extend(kept)
    return out
