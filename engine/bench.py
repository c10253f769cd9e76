"""How fast a network runs here, by backend, precision and batch, against the fastest matrix product of this machine.

The share of the peak says how much of the hardware is used: twice the network's multiply-adds a second, over what one
large matrix product reaches at its best in the same precision, in the same run. Torch, eager and compiled, stands
beside as what there would be without an engine; it takes the same windows (engine/bench_torch.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import numpy as np

from engine.bench_peak import Peak, call_times
from engine.build import Recipe
from engine.bundle import Bundle
from engine.network.cost import total
from engine.runtime.base import Engine, EngineError, Precision
from engine.runtime.openvino import CPUPrecision, OpenVINOEngine

Backend = Literal["openvino", "tensorrt", "torch eager", "torch compiled"]


@dataclass(frozen=True)
class Case:
    """One line of the report. ms_per_window: wall-clock time of a batch by its windows.

    peak_gops: what one matrix product reaches in this precision, 1e9 operations a second; peak_share: 0..1, of it.
    Both None where it cannot be measured. reason: why nothing was measured; empty if it was.
    """

    model: str
    backend: Backend
    precision: Precision
    batch: int
    ms_per_window: float | None = None
    windows_per_s: float | None = None
    peak_share: float | None = None
    peak_gops: float | None = None
    device: str = ""
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def measured(self, bundle: Bundle, run: Callable[[], Any], seconds: float, peak: Peak, device: str) -> Case:
        """This case with the median time of a call, which computes its batch."""
        rate = self.batch / float(np.median(call_times(run, seconds)))
        most = peak(self.precision)
        return replace(
            self,
            ms_per_window=round(1e3 / rate, 3),
            windows_per_s=round(rate, 2),
            peak_share=None if most is None else round(2 * total(bundle.spec).macs * rate / most, 4),
            peak_gops=None if most is None else round(most / 1e9, 1),
            device=device,
        )


def measure(
    bundle: Bundle,
    batches: Sequence[int],
    threads: int,
    seconds: float,
    torch_too: bool = True,
    begin: Callable[[Case], None] = lambda case: None,
) -> Iterator[Case]:
    """Every case that this machine can run, one after the other; `seconds` are spent on each. begin: told of each."""
    on_cpu, on_gpu = Peak(threads), Peak(threads, cuda=True)
    yield from _openvino(bundle, batches, threads, seconds, on_cpu, begin)
    yield from _tensorrt(bundle, batches, seconds, on_gpu, begin)
    if torch_too:
        try:
            from engine.bench_torch import measure_torch
        except ImportError as error:  # streaming needs no torch
            yield Case(bundle.name, "torch eager", "fp32", max(batches), reason=f"torch is not installed ({error})")
        else:
            yield from measure_torch(bundle, batches, threads, seconds, (on_cpu, on_gpu), begin)


def _openvino(
    bundle: Bundle, batches: Sequence[int], threads: int, seconds: float, peak: Peak, begin: Callable[[Case], None]
) -> Iterator[Case]:
    """Batch 1: all threads on one window. More: a window a thread."""
    precisions: list[CPUPrecision] = ["fp32", "bf16"]
    if "int8" in bundle.precisions:
        precisions.append("int8")
    for precision in precisions:
        for batch in batches:
            case = Case(bundle.name, "openvino", cast(Precision, precision), batch)
            begin(case)
            try:
                engine = OpenVINOEngine(bundle, threads=threads, streams=1 if batch == 1 else None, precision=precision)
            except EngineError as error:  # this CPU lacks the precision
                yield replace(case, reason=str(error))
                break
            with closing(engine):
                device = f"{engine.info.device}, {threads} thread{'s' if threads > 1 else ''}"
                yield case.measured(bundle, _batch_of(engine, bundle, batch), seconds, peak, device)


def _tensorrt(
    bundle: Bundle, batches: Sequence[int], seconds: float, peak: Peak, begin: Callable[[Case], None]
) -> Iterator[Case]:
    """From windows in the host's memory to logits there."""
    from engine.runtime.tensorrt import choose_library, open_tensorrt

    precisions: list[Precision] = ["fp32", "fp16", "bf16"]
    if "int8" in bundle.precisions:
        precisions.append("int8")
    try:
        library = choose_library()
    except EngineError as error:
        yield Case(bundle.name, "tensorrt", "fp16", max(batches), reason=str(error))
        return
    for precision in precisions:
        case = Case(bundle.name, "tensorrt", precision, max(batches))
        begin(case)
        try:
            engine = open_tensorrt(bundle, Recipe(library, precision, tuple(batches)))
        except EngineError as error:
            yield replace(case, reason=str(error))
            continue
        with closing(engine):
            for batch in batches:
                begin(replace(case, batch=batch))
                run = _batch_of(engine, bundle, batch)
                yield replace(case, batch=batch).measured(bundle, run, seconds, peak, engine.info.device)


def _batch_of(engine: Engine, bundle: Bundle, batch: int) -> Callable[[], Any]:
    """Infers so many windows, of as many streams."""
    reference = bundle.reference()
    slots = [engine.open_slot() for _ in range(batch)]
    rows = [i % len(reference.picture) for i in range(batch)]
    picture, flow = reference.picture[rows], reference.flow[rows]
    return lambda: engine.infer(slots, picture, flow)
