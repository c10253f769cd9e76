"""Network: a graph, run by OpenVINO or ONNX Runtime on whole arrays, its states given and taken by hand.

What serves cameras is engine.runtime. Calibration runs many variants of one graph, on both runtimes, and looks at
their states: it needs no slots, and a graph that lies in no bundle yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from engine.parity import Window
from engine.runtime.openvino import shared_core
from engine.spec import ModelSpec

Array = npt.NDArray[Any]
Inputs = Sequence[Array]
"""The arrays of `ModelSpec.inputs`, each [N, ...]: picture, flow where the modality has it, states."""


Network = Callable[[Inputs], list[Array]]
"""Gives the arrays of `ModelSpec.outputs`, each [N, ...]: logits, new states."""


def threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OrtNetwork:
    """A graph on ONNX Runtime's CPU provider. graph: a serialised ONNX model with a dynamic batch."""

    def __init__(self, graph: bytes, spec: ModelSpec, outputs: Sequence[str] | None = None) -> None:
        """outputs: names to return instead of `ModelSpec.outputs`."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._inputs = [tensor.name for tensor in spec.inputs]
        self._outputs = list(outputs) if outputs is not None else [tensor.name for tensor in spec.outputs]

    def __call__(self, inputs: Inputs) -> list[Array]:
        feed = dict(zip(self._inputs, inputs, strict=True))
        return [np.asarray(array) for array in self._session.run(self._outputs, feed)]


class OpenVINONetwork:
    """A graph on OpenVINO's CPU plugin in f32 (or what its Q/DQ nodes say), one window at a time as in service."""

    def __init__(self, graph: bytes, spec: ModelSpec) -> None:
        core = shared_core()
        model = core.read_model(graph)
        model.reshape({tensor.name: [1, *tensor.shape] for tensor in spec.inputs})
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads(), "NUM_STREAMS": 1}
        self._compiled = core.compile_model(model, "CPU", config | {"ENABLE_CPU_PINNING": False})
        self._request = self._compiled.create_infer_request()
        self._inputs = [tensor.name for tensor in spec.inputs]
        self._outputs = [tensor.name for tensor in spec.outputs]

    def __call__(self, inputs: Inputs) -> list[Array]:
        rows = []
        for n in range(len(inputs[0])):
            feed = {name: array[n : n + 1] for name, array in zip(self._inputs, inputs, strict=True)}
            results: Mapping[str, Array] = self._request.infer(feed)
            rows.append([np.array(results[name]) for name in self._outputs])
        return [np.concatenate(arrays) for arrays in zip(*rows, strict=True)]


def zero_states(spec: ModelSpec) -> list[Array]:
    """States of one stream at its beginning, each [1, C, h, w]."""
    return [np.zeros((1, *tensor.shape), tensor.dtype) for tensor in spec.state_tensors]


def carried(network: Network, spec: ModelSpec) -> Window:
    """The network as `engine.parity.compare` calls it: one stream, its state carried from a zero one."""
    states = zero_states(spec)

    def run(picture: npt.NDArray[np.uint8], flow: npt.NDArray[np.float16]) -> tuple[Array, list[Array]]:
        nonlocal states
        logits, *states = network([picture, *((flow,) if spec.flow_ticks else ()), *states])
        return logits[0], [state[0] for state in states]

    return run
