"""A model bundle whose network is a formula, so that tests know what it says: made in no time, run by real engines.

Label `move` is certain where the largest flow of a step is a pixel a tick or more. The logit of `count` is how
many windows the state has seen, minus 64 (so it is never an event). A wholly white picture gives NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.bundle import Bundle, save_bundle
from engine.parity import MIN_WINDOWS, Reference
from engine.spec import ModelSpec, NetworkSpec

COUNT = 1  # column of `count` in the logits
OFFSET = 64

SPEC = ModelSpec(
    name="motion",
    version="1",
    labels=("move", "count", "none"),
    modality="rgb+flow",
    ticks=6,
    rate_hz=10.0,
    height=64,
    width=64,
    network=NetworkSpec(
        embed_dim=8, depths=(1,), heads=(1,), stem="conv", stem_channels=(8, 8), memory="head", memory_channels=1
    ),
)  # windows of 0.6 s, three steps each


def windows_seen(logits: npt.NDArray[np.float32]) -> int:
    """By the state, this window included. logits: [S, K+1]."""
    return round(float(logits[0, COUNT])) + OFFSET


def make_formula_bundle(path: Path, **rules: object) -> Bundle:
    """rules: fields of `stream.events.Rules` for its thresholds."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 200, (MIN_WINDOWS, *SPEC.inputs[0].shape), dtype=np.uint8)
    flow = rng.normal(0, 1, (MIN_WINDOWS, *SPEC.inputs[1].shape)).astype(np.float16)
    move = 8 * (np.abs(flow.astype(np.float32)).max(axis=(2, 3, 4)) - 0.5)
    seen = np.arange(1, MIN_WINDOWS + 1, dtype=np.float32)
    count = np.broadcast_to(seen[:, None] - OFFSET, move.shape)
    state = np.broadcast_to(seen[:, None, None, None], (MIN_WINDOWS, *SPEC.state_tensors[0].shape))
    logits = np.stack((move, count, np.zeros_like(move)), axis=-1).astype(np.float32)
    states = [np.ascontiguousarray(state, np.float32), np.zeros_like(state, np.float32)]
    defaults = {"enter": 0.6, "min_duration_s": 0.2, "merge_gap_s": 0.2, **rules}
    with TemporaryDirectory() as folder:
        graph = Path(folder) / "network.onnx"
        onnx.save(_graph(), graph)
        return save_bundle(
            path,
            SPEC,
            weights={"nothing": np.zeros(1, np.float32)},
            graphs={"fp32": graph},
            reference=Reference(picture, flow, logits, states),
            thresholds={"defaults": defaults},
            card="# motion\n",
        )


def _graph() -> onnx.ModelProto:
    constants = {
        "one": np.float32(1),
        "half": np.float32(0.5),
        "eight": np.float32(8),
        "white": np.float32(255),
        "zero": np.float32(0),
        "offset": np.float32(OFFSET),
        "pixels": np.array([2, 3, 4], np.int64),
        "map": np.array([1, 2, 3], np.int64),
        "column": np.array([1], np.int64),
        "last": np.array([2], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["flow"], ["flow32"], to=TensorProto.FLOAT),
        node("Abs", ["flow32"], ["speed"]),
        node("ReduceMax", ["speed", "pixels"], ["fastest"], keepdims=0),
        node("Sub", ["fastest", "half"], ["above"]),
        node("Mul", ["above", "eight"], ["move"]),
        node("Cast", ["picture"], ["picture32"], to=TensorProto.FLOAT),
        node("ReduceMean", ["picture32", "pixels"], ["brightness"], keepdims=0),
        node("Sub", ["white", "brightness"], ["darkness"]),
        node("Reciprocal", ["darkness"], ["infinite"]),
        node("Mul", ["infinite", "zero"], ["none"]),
        node("Add", ["state_0_h", "one"], ["new_state_0_h"]),
        node("Identity", ["state_0_c"], ["new_state_0_c"]),
        node("ReduceMean", ["new_state_0_h", "map"], ["seen"], keepdims=0),
        node("Sub", ["seen", "offset"], ["counted"]),
        node("Unsqueeze", ["counted", "column"], ["counted_once"]),
        node("Add", ["none", "counted_once"], ["count"]),
        *(node("Unsqueeze", [name, "last"], [f"{name}_column"]) for name in ("move", "count", "none")),
        node("Concat", ["move_column", "count_column", "none_column"], ["logits"], axis=2),
    ]
    return graph_of(SPEC, "motion", nodes, constants)


def graph_of(
    spec: ModelSpec, name: str, nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Any]
) -> onnx.ModelProto:
    """A checked graph with the spec's inputs and outputs, its batch dynamic. constants: initializers by name."""
    kinds = {"uint8": TensorProto.UINT8, "float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}
    inputs, outputs = (
        [helper.make_tensor_value_info(t.name, kinds[t.dtype], ["N", *t.shape]) for t in tensors]
        for tensors in (spec.inputs, spec.outputs)
    )
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model
