"""A bundle with layers to quantise, made by hand and in no time: a convolution over flow, a product behind a LayerNorm
one of whose channels stands out, and a convolution over the state."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper

from calibration.network import OrtNetwork, zero_states
from engine.bundle import Bundle, save_bundle
from engine.parity import MIN_WINDOWS, Reference
from engine.spec import ModelSpec
from tests.formula_bundle import SPEC, graph_of

CHANNELS = 6
OUTLIER = 40.0  # of the LayerNorm's scale, in one channel


def make_tiny_bundle(path: Path) -> Bundle:
    """Says `move` where something moves. Spec and labels are tests.formula_bundle's."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 200, (MIN_WINDOWS, *SPEC.inputs[0].shape), dtype=np.uint8)
    flow = rng.normal(0, 2, (MIN_WINDOWS, *SPEC.inputs[1].shape)).astype(np.float16)
    flow[::2] *= np.float16(0.01)
    graph = tiny_graph()
    network, states, rows = OrtNetwork(graph.SerializeToString(), SPEC), zero_states(SPEC), []
    for window in range(MIN_WINDOWS):
        logits, *states = network([picture[window : window + 1], flow[window : window + 1], *states])
        rows.append([logits, *states])
    logits, *after = (np.concatenate(arrays) for arrays in zip(*rows, strict=True))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        onnx.save(graph, file)
        return save_bundle(
            path,
            SPEC,
            weights={"nothing": np.zeros(1, np.float32)},
            graphs={"fp32": file},
            reference=Reference(picture, flow, logits, after),
            thresholds={"defaults": {"enter": 0.6, "min_duration_s": 0.2, "merge_gap_s": 0.2}},
            card="# tiny\n",
        )


def tiny_graph(spec: ModelSpec = SPEC) -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    steps, labels = spec.steps, len(spec.labels)
    flows = len(spec.flow_ticks) * 2
    scale = np.ones(CHANNELS, np.float32)
    scale[-1] = OUTLIER
    head = rng.normal(0, 0.3, (CHANNELS, steps, labels)).astype(np.float32)
    head[-1] /= OUTLIER
    head[0, :, 0], head[0, :, -1] = 3, -3  # the channel that grows with motion speaks for `move`
    conv = np.abs(rng.normal(0, 0.05, (CHANNELS, flows, 3, 3))).astype(np.float32)
    conv[0] *= 8
    constants = {
        "map": np.array([2, 3], np.int64),
        "planes": np.array([0, flows, spec.height, spec.width], np.int64),
        "conv": conv,
        "conv_bias": np.linspace(0.5, 1.5, CHANNELS).astype(np.float32),
        "scale": scale,
        "bias": np.zeros(CHANNELS, np.float32),
        "one": np.array([0, 1, CHANNELS], np.int64),
        "head": head.reshape(CHANNELS, steps * labels),
        "rows": np.array([0, steps, labels], np.int64),
        "memory": rng.normal(0, 0.2, (1, 1, 3, 3)).astype(np.float32),
        "share": np.float32(0.1),
        "dim": np.float32(0.001),
        "pixels": np.array([1, 2, 3, 4], np.int64),
        "first": np.array([1], np.int64),
        "last": np.array([2], np.int64),
        "last_two": np.array([2, 3], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["flow"], ["flow32"], to=TensorProto.FLOAT),
        node("Abs", ["flow32"], ["speed"]),
        node("Reshape", ["speed", "planes"], ["stacked"]),
        node("Conv", ["stacked", "conv", "conv_bias"], ["seen"], name="conv", kernel_shape=[3, 3], strides=[4, 4]),
        node("Relu", ["seen"], ["active"]),
        node("ReduceMax", ["active", "map"], ["pooled"], keepdims=0),
        node("Reshape", ["pooled", "one"], ["tokens"]),
        node("LayerNormalization", ["tokens", "scale", "bias"], ["normal"], name="norm", axis=-1),
        node("MatMul", ["normal", "head"], ["said"], name="head"),
        node("Reshape", ["said", "rows"], ["now"]),
        node("Conv", ["state_0_h", "memory"], ["kept"], name="memory", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("ReduceMean", ["pooled", "first"], ["level"], keepdims=1),
        node("Unsqueeze", ["level", "last_two"], ["level_map"]),
        node("Add", ["kept", "level_map"], ["fed"]),
        node("Tanh", ["fed"], ["new_state_0_h"]),
        node("Identity", ["state_0_c"], ["new_state_0_c"]),
        node("ReduceMean", ["new_state_0_h", "map"], ["mood"], keepdims=0),
        node("Cast", ["picture"], ["picture32"], to=TensorProto.FLOAT),
        node("ReduceMean", ["picture32", "pixels"], ["brightness"], keepdims=0),
        node("Unsqueeze", ["brightness", "first"], ["bright"]),
        node("Mul", ["bright", "dim"], ["dimmed"]),
        node("Add", ["mood", "dimmed"], ["feeling"]),
        node("Mul", ["feeling", "share"], ["little"]),
        node("Unsqueeze", ["little", "last"], ["before"]),
        node("Add", ["now", "before"], ["logits"]),
    ]
    return graph_of(spec, "tiny", nodes, constants)
