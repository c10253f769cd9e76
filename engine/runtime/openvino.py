"""OpenVINO on the CPU: the engine that every machine has.

A batch is run as requests of batch 1, one per thread, side by side. Measured on two AVX2 cores with the
default network (98 M multiply-adds a step, 6 steps): 15.4 core-ms a window so, 15.1 in a static batch of 4,
17.5 to 21 where two threads share a request; and a graph of batch 1 serves any number of streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov

from engine.bundle import Bundle, BundleError
from engine.runtime.base import EngineError, EngineInfo, Inference
from engine.spec import ModelSpec
from engine.state import StateStore

DEVICE = "CPU"
EXPONENT = 0x7C00  # of float16
CPUPrecision = Literal["auto", "fp32", "bf16"]


class _Request(NamedTuple):
    """A request of batch 1 and the memory it reads and writes: arrays [1, ...], allocated once."""

    request: Any
    inputs: list[npt.NDArray[Any]]
    state: list[npt.NDArray[np.float32]]  # the inputs that are states
    logits: npt.NDArray[np.float32]
    new_state: list[npt.NDArray[np.float32]]
    exponents: npt.NDArray[np.uint16]  # scratch of the flow's shape


class OpenVINOEngine:
    """`Engine` on OpenVINO's CPU plugin.

    threads: CPU threads, and windows computed at a time. precision: `auto` is bf16 where the CPU computes in
    it, else fp32. reason: for `info`. Raises EngineError if the model does not compile or the CPU lacks the
    precision, BundleError if the graph is not the spec's.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 1,
        precision: CPUPrecision = "auto",
        reason: str = "",
    ) -> None:
        core = ov.Core()
        has_bf16 = "BF16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
        device = str(core.get_property(DEVICE, "FULL_DEVICE_NAME"))
        if precision == "bf16" and not has_bf16:
            raise EngineError(f"{device} does not compute in bf16: use fp32, or auto")
        if precision == "auto":
            precision = "bf16" if has_bf16 else "fp32"
        self._spec = bundle.spec
        self._info = EngineInfo("openvino", precision, device, reason)
        self._store = StateStore(bundle.spec)
        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "ENABLE_CPU_PINNING": False,  # decoders share these cores
        }
        path = bundle.onnx()
        try:
            model = core.read_model(path)
            _check(model, bundle.spec, path)
            model.reshape({t.name: [1, *t.shape] for t in bundle.spec.inputs})
            self._compiled = core.compile_model(model, DEVICE, config)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot compile {path}: {str(error).strip().splitlines()[-1]}") from error
        self._requests = [self._request() for _ in range(threads)]

    def _request(self) -> _Request:
        spec, request = self._spec, self._compiled.create_infer_request()
        inputs = [np.zeros((1, *t.shape), t.dtype) for t in spec.inputs]
        outputs = [np.zeros((1, *t.shape), t.dtype) for t in spec.outputs]
        for tensor, array in zip(spec.inputs, inputs, strict=True):
            request.set_tensor(tensor.name, ov.Tensor(array, shared_memory=True))
        for tensor, array in zip(spec.outputs, outputs, strict=True):
            request.set_tensor(tensor.name, ov.Tensor(array, shared_memory=True))
        state = inputs[len(inputs) - len(spec.state_tensors) :]
        exponents = np.zeros(inputs[1].shape if spec.flow_ticks else 0, np.uint16)
        return _Request(request, inputs, state, outputs[0], outputs[1:], exponents)

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def info(self) -> EngineInfo:
        return self._info

    def open_slot(self) -> int:
        return self._store.open()

    def reset_slot(self, slot: int) -> None:
        self._store.reset(slot)

    def close_slot(self, slot: int) -> None:
        self._store.close(slot)

    def state(self, slot: int) -> list[npt.NDArray[np.float32]]:
        return self._store.read(slot)

    def infer(self, slots: Sequence[int], picture: npt.NDArray[np.uint8], flow: npt.NDArray[np.float16]) -> Inference:
        n, lanes = len(slots), len(self._requests)
        self._store.check(slots)
        windows: list[npt.NDArray[Any]] = [picture, flow] if self._spec.flow_ticks else [picture]
        for tensor, array in zip(self._spec.inputs, windows, strict=False):
            if array.shape != (n, *tensor.shape) or array.dtype != tensor.dtype:
                raise ValueError(
                    f"{tensor.name} is {array.dtype} {list(array.shape)}, "
                    f"expected {tensor.dtype} {[n, *tensor.shape]} for {n} slots"
                )
        logits = np.empty((n, *self._spec.outputs[0].shape), np.float32)
        finite = np.empty(n, np.bool_)

        def collect(row: int) -> None:
            lane = self._requests[row % lanes]
            lane.request.wait()
            logits[row] = lane.logits[0]
            sound = self._store.scatter([slots[row]], lane.new_state)[0] and np.isfinite(logits[row]).all()
            # Not left to the network: a fused ReLU turns NaN into 0, and what follows looks like a result.
            sound &= not self._spec.flow_ticks or _is_finite(lane.inputs[1], lane.exponents)
            finite[row] = sound
            if not sound:
                logits[row] = np.nan
                self._store.reset(slots[row])

        for row in range(n):
            if row >= lanes:
                collect(row - lanes)
            lane = self._requests[row % lanes]
            for array, window in zip(lane.inputs, windows, strict=False):
                array[0] = window[row]
            self._store.gather([slots[row]], lane.state)
            lane.request.start_async()
        for row in range(max(0, n - lanes), n):
            collect(row)
        return Inference(logits, finite)

    def close(self) -> None:
        for lane in self._requests:
            lane.request.wait()
        self._requests = []
        self._compiled = None


def _is_finite(flow: npt.NDArray[np.float16], scratch: npt.NDArray[np.uint16]) -> bool:
    """Whether no exponent is all ones: np.isfinite, 10 times as fast for float16."""
    np.bitwise_and(flow.view(np.uint16), EXPONENT, out=scratch)
    return int(scratch.max()) != EXPONENT


def _check(model: Any, spec: ModelSpec, path: Path) -> None:
    """Raise BundleError unless the graph has the spec's inputs and outputs."""
    for kind, ports, tensors in (("input", model.inputs, spec.inputs), ("output", model.outputs, spec.outputs)):
        got = {p.get_any_name(): [d.get_length() for d in list(p.partial_shape)[1:]] for p in ports}
        expected = {t.name: list(t.shape) for t in tensors}
        for name in sorted(got.keys() | expected.keys()):
            if got.get(name) != expected.get(name):
                raise BundleError(
                    f"{path} is not the network of model '{spec.name}': {kind} {name} is {got.get(name, 'missing')}, "
                    f"model.yaml says {expected.get(name, 'none')}; export the bundle again"
                )
