"""How fast a network runs here, by backend, precision and batch, against the fastest matrix product of this machine.

The share of the peak says how much of the hardware is used: twice the network's multiply-adds a second, over what one
matrix product of 2048 cubed reaches at its best in the same precision, in the same run. Torch, eager and compiled,
stands beside as what there would be without an engine; it takes the same windows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from engine.bundle import Bundle
from engine.network.cost import total
from engine.runtime.base import Engine, EngineError, Precision
from engine.runtime.openvino import OpenVINOEngine

PRODUCT = 2048
Backend = Literal["openvino", "tensorrt", "torch eager", "torch compiled"]


@dataclass(frozen=True)
class Case:
    """One line of the report. ms_per_window: wall-clock time of a batch by its windows. peak_share: 0..1, None where
    the peak of this precision cannot be measured. reason: why nothing was measured; empty if it was."""

    model: str
    backend: Backend
    precision: Precision
    batch: int
    ms_per_window: float | None = None
    windows_per_s: float | None = None
    peak_share: float | None = None
    device: str = ""
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Peak:
    """Operations a second that one large matrix product reaches, by precision; measured when first asked."""

    def __init__(self, threads: int, cuda: bool = False) -> None:
        self._threads, self._cuda = threads, cuda
        self._measured: dict[Precision, float | None] = {}

    def __call__(self, precision: Precision) -> float | None:
        """None without torch, or where torch lacks the precision."""
        if precision not in self._measured:
            try:
                self._measured[precision] = self._measure(precision)
            except (ImportError, RuntimeError):
                self._measured[precision] = None
        return self._measured[precision]

    def _measure(self, precision: Precision) -> float:
        import torch

        torch.set_num_threads(self._threads)
        device = "cuda" if self._cuda else "cpu"
        if precision == "int8":
            a, b = (torch.ones((PRODUCT, PRODUCT), dtype=torch.int8, device=device) for _ in range(2))
            product: Callable[..., Any] = torch._int_mm
        else:
            dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
            a, b = (torch.rand((PRODUCT, PRODUCT), device=device).to(dtype) for _ in range(2))
            product = torch.mm

        def run() -> None:
            product(a, b)
            if self._cuda:
                torch.cuda.synchronize()

        return 2 * PRODUCT**3 / min(_times(run, 1.0))


def measure(
    bundle: Bundle, batches: Sequence[int], threads: int, seconds: float, torch_too: bool = True
) -> Iterator[Case]:
    """Every case that this machine can run, one after the other; `seconds` are spent on each."""
    yield from _openvino(bundle, batches, threads, seconds)
    cuda = yield from _tensorrt(bundle, batches, seconds)
    if torch_too:
        yield from _torch(bundle, batches, threads, seconds, cuda)


def _openvino(bundle: Bundle, batches: Sequence[int], threads: int, seconds: float) -> Iterator[Case]:
    """Batch 1: all threads on one window. More: a window a thread."""
    peak = Peak(threads)
    precisions: list[Literal["fp32", "bf16", "int8"]] = ["fp32", "bf16"]
    if "int8" in bundle.precisions:
        precisions.append("int8")
    for precision in precisions:
        for batch in batches:
            case = Case(bundle.name, "openvino", precision, batch)
            try:
                engine = OpenVINOEngine(bundle, threads=threads, streams=1 if batch == 1 else None, precision=precision)
            except EngineError as error:
                yield Case(bundle.name, "openvino", precision, batch, reason=str(error))
                break
            yield _run(engine, bundle, case, seconds, peak)


def _tensorrt(bundle: Bundle, batches: Sequence[int], seconds: float) -> Generator[Case, None, bool]:
    """Returns whether there is a GPU that TensorRT could use."""
    from engine.runtime.tensorrt import choose_library, open_tensorrt

    try:
        target = choose_library()
    except EngineError as error:
        yield Case(bundle.name, "tensorrt", "fp16", max(batches), reason=str(error))
        return False
    peak = Peak(1, cuda=True)
    precisions: list[Precision] = ["fp32", "fp16", "bf16"]
    if "int8" in bundle.precisions:
        precisions.append("int8")
    for precision in precisions:
        for batch in batches:
            case = Case(bundle.name, "tensorrt", precision, batch)
            try:
                engine = open_tensorrt(bundle, target, precision, tuple(batches))
            except EngineError as error:
                yield Case(bundle.name, "tensorrt", precision, batch, reason=str(error))
                break
            yield _run(engine, bundle, case, seconds, peak)
    return True


def _run(engine: Engine, bundle: Bundle, case: Case, seconds: float, peak: Peak) -> Case:
    reference = bundle.reference()
    slots = [engine.open_slot() for _ in range(case.batch)]
    rows = [i % len(reference.picture) for i in range(case.batch)]
    picture, flow = reference.picture[rows], reference.flow[rows]
    try:
        return _finish(
            case, bundle, _time(lambda: engine.infer(slots, picture, flow), seconds), peak, engine.info.device
        )
    finally:
        engine.close()


def _torch(bundle: Bundle, batches: Sequence[int], threads: int, seconds: float, cuda: bool) -> Iterator[Case]:
    """The bundle's network in torch: fp32 on the CPU, fp16 on a GPU, and bf16 where the CPU computes in it."""
    try:
        import torch

        from engine.network.weights import load_recognizer
    except ImportError as error:
        yield Case(bundle.name, "torch eager", "fp32", max(batches), reason=f"torch is not installed ({error})")
        return
    torch.set_num_threads(threads)
    cuda = cuda and torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    named = torch.cuda.get_device_name() if cuda else f"CPU, {threads} threads"
    peak = Peak(threads, cuda)
    precisions: list[Precision] = ["fp32", "fp16"] if cuda else ["fp32"]
    if not cuda and torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        precisions.append("bf16")
    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    model = load_recognizer(bundle).to(device)
    compiled = torch.compile(model, dynamic=False)
    reference = bundle.reference()
    backends: list[tuple[Backend, Any]] = [("torch eager", model), ("torch compiled", compiled)]
    for backend, forward in backends:
        for precision in precisions:
            for batch in batches:
                rows = [i % len(reference.picture) for i in range(batch)]
                picture, flow = (torch.from_numpy(x[rows]).to(device) for x in (reference.picture, reference.flow))
                state = [tensor.to(device) for tensor in model.initial_state(batch)]

                def run(forward: Any = forward, picture: Any = picture, flow: Any = flow, state: Any = state) -> None:
                    with torch.inference_mode():
                        forward(picture, flow, state)
                    if cuda:
                        torch.cuda.synchronize()

                case = Case(bundle.name, backend, precision, batch)
                try:
                    with torch.autocast(device, dtypes[precision], enabled=precision != "fp32"):
                        took = _time(run, seconds)
                except RuntimeError as error:  # no C++ compiler, for one
                    reason = str(error).strip().splitlines()[0]
                    yield Case(bundle.name, backend, precision, batch, reason=reason)
                    break
                yield _finish(case, bundle, took, peak, named)


def _finish(case: Case, bundle: Bundle, seconds: float, peak: Peak, device: str) -> Case:
    """seconds: for a batch."""
    rate = case.batch / seconds
    most = peak(case.precision)
    share = None if most is None else round(2 * total(bundle.spec).macs * rate / most, 4)
    return Case(
        case.model, case.backend, case.precision, case.batch, round(1e3 / rate, 3), round(rate, 2), share, device
    )


def _time(run: Callable[[], Any], seconds: float) -> float:
    """Median time of a call, s."""
    return float(np.median(_times(run, seconds)))


def _times(run: Callable[[], Any], seconds: float) -> list[float]:
    """Of each call, s: at least three calls, over about `seconds`; two calls before do not count."""
    run()
    run()
    times: list[float] = []
    end = time.monotonic() + seconds
    while len(times) < 3 or time.monotonic() < end:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return times
