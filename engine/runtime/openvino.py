"""OpenVINO on the CPU: the engine that every machine has.

A batch is run as requests of batch 1, one per thread, side by side. Measured on two AVX2 cores with the
default network (98 M multiply-adds a step, 6 steps): 15.4 core-ms a window so, 15.1 in a static batch of 4,
17.5 to 21 where two threads share a request; and a graph of batch 1 serves any number of streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov

from engine.bundle import Bundle, BundleError
from engine.runtime.base import EngineError, EngineInfo, Inference, Precision
from engine.spec import ModelSpec
from engine.state import StateStore

DEVICE = "CPU"
EXPONENT = 0x7C00  # of float16
CPUPrecision = Literal["auto", "fp32", "bf16", "int8"]


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

    threads: CPU threads. streams: windows computed at a time, which share the threads; None: one a thread.
    precision: `auto` is bf16 where the CPU computes in it, else fp32; int8 needs the bundle's int8 graph, and what is
    not int8 in it runs as `auto` would. blob: from `compile_blob` for this bundle and precision, and so ready sooner.
    reason: for `info`.
    Raises EngineError if the model does not compile or the CPU lacks the precision, BundleError if the graph is
    not the spec's, or there is none.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 1,
        streams: int | None = None,
        precision: CPUPrecision = "auto",
        blob: bytes | None = None,
        reason: str = "",
    ) -> None:
        core = shared_core()
        used = cpu_precision(precision)
        self._spec = bundle.spec
        self._info = EngineInfo("openvino", used, _name(core), reason, batch=streams or threads)
        self._store = StateStore(bundle.spec)
        config: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams or threads,
            "ENABLE_CPU_PINNING": False,  # decoders share these cores
            # A compiled blob does not keep it: imported without, it would run in bf16 wherever the CPU has that.
            "INFERENCE_PRECISION_HINT": _hint(core, used),
        }
        path = bundle.onnx("int8" if used == "int8" else "fp32")
        try:
            if blob is None:
                model = _read(core, path, bundle.spec, str(path))
                self._compiled = core.compile_model(model, DEVICE, config)
            else:
                self._compiled = core.import_model(BytesIO(blob), DEVICE, config)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot compile {path}: {str(error).strip().splitlines()[-1]}") from error
        self._requests = [self._request() for _ in range(streams or threads)]

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


def cpu_precision(precision: CPUPrecision) -> Literal["fp32", "bf16", "int8"]:
    """What `auto` is on this CPU, or the precision itself. Raises EngineError if the CPU lacks it."""
    core = shared_core()
    if precision == "auto":
        return "bf16" if _has_bf16(core) else "fp32"
    if precision == "bf16" and not _has_bf16(core):
        raise EngineError(f"{_name(core)} does not compute in bf16: use fp32, or auto")
    return precision


def device_identity() -> tuple[str, str]:
    """Library and CPU, with all that a compiled blob depends on."""
    core = shared_core()
    capabilities = ", ".join(sorted(core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")))
    return f"openvino {ov.get_version()}", f"{_name(core)} ({capabilities})"


def compile_blob(graph: bytes, spec: ModelSpec, precision: Precision) -> bytes:
    """A graph compiled for this CPU, for `OpenVINOEngine`. Raises EngineError if it does not compile."""
    if precision == "fp16":
        raise EngineError("OpenVINO computes in fp32, bf16 or int8 on a CPU: fp16 is for TensorRT")
    core = shared_core()
    used = cpu_precision(precision)
    blob = BytesIO()
    try:
        model = _read(core, graph, spec, "the graph")
        config = {"INFERENCE_PRECISION_HINT": _hint(core, used)}
        core.compile_model(model, DEVICE, config).export_model(blob)
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot compile '{spec.name}': {str(error).strip().splitlines()[-1]}") from error
    return blob.getvalue()


@cache
def shared_core() -> Any:
    """The process's ov.Core, for good.

    Each Core gives the thread that uses it first an alternate stack for signals. Of two that end in the order in which
    they came, the second leaves the thread the first one's, which is freed: the next signal, a Ctrl-C, would end the
    process by SIGSEGV (OpenVINO 2026.1).
    """
    return ov.Core()


def _name(core: Any) -> str:
    return str(core.get_property(DEVICE, "FULL_DEVICE_NAME"))


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


def _hint(core: Any, precision: Precision) -> str:
    """What is not int8 runs in: bf16, or f32."""
    return "bf16" if precision == "bf16" or (precision == "int8" and _has_bf16(core)) else "f32"


def _read(core: Any, graph: Path | bytes, spec: ModelSpec, name: str) -> Any:
    """The graph for a batch of 1. Raises BundleError if it is not the spec's."""
    model = core.read_model(graph)
    _check(model, spec, name)
    model.reshape({t.name: [1, *t.shape] for t in spec.inputs})
    return model


def _check(model: Any, spec: ModelSpec, path: str) -> None:
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
