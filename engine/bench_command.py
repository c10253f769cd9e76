"""`swinstream bench engine`: a line per backend, precision and batch."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.status import Status
from rich.table import Table
from rich.text import Text

from engine.bench import Case, measure
from engine.bundle import Bundle, BundleError, shipped
from engine.network.cost import total


def bench(names: Sequence[str], batches: str, threads: int | None, seconds: float, torch: bool, as_json: bool) -> int:
    """Measure bundles, all that are shipped if none is named; returns the exit code."""
    errors = Console(stderr=True)
    sizes = [part.strip() for part in batches.split(",")]
    if not all(size.isdecimal() and int(size) for size in sizes):
        errors.print("--batch is whole numbers above 0 with commas between, as in 1,16", style="red")
        return 2
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        bundles = [Bundle.load(name) for name in names or shipped()]
    except BundleError as error:
        errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    for bundle in bundles:
        cases = []
        with errors.status("measuring") as status:

            def begin(case: Case, status: Status = status) -> None:
                status.update(f"measuring {case.model}: {case.backend}, {case.precision}, batch {case.batch}")

            for case in measure(bundle, [int(size) for size in sizes], threads or cores, seconds, torch, begin):
                cases.append(case)
                if as_json:
                    sys.stdout.write(json.dumps(case.to_json()) + "\n")
                    sys.stdout.flush()
        if not as_json:
            for part in _report(bundle, cases):
                Console(highlight=False).print(part)
    return 0


def _report(bundle: Bundle, cases: Sequence[Case]) -> Iterator[RenderableType]:
    """A table of what was measured; on what; the peaks that shares are of; and what was not measured, and why."""
    spec = bundle.spec
    size = f"{spec.ticks} ticks of {spec.width}x{spec.height}, {total(spec).macs / 1e9:.2f} G multiply-adds a window"
    yield Text(f"{bundle.name}: {size}", style="bold")
    table = Table("backend", "precision", "batch", "ms a window", "windows/s", "of the peak", box=box.SIMPLE)
    for column in table.columns[2:]:
        column.justify = "right"
    devices: dict[str, dict[str, None]] = {}  # what was measured on each, in order
    last = None
    for case in cases:
        if case.ms_per_window is None or case.windows_per_s is None:
            continue
        if last is not None and last != case.backend:
            table.add_section()
        last = case.backend
        share = "not known" if case.peak_share is None else f"{case.peak_share:.0%}"
        numbers = f"{case.ms_per_window:.2f}", f"{case.windows_per_s:.1f}", share
        table.add_row(case.backend, case.precision, str(case.batch), *numbers)
        devices.setdefault(case.device, {})[f"{case.backend} {case.precision}"] = None
    yield table
    for device, what in devices.items():
        yield Text(f"on {device}: {', '.join(what)}")
    yield from _peaks(cases)
    for case in cases:
        if case.reason:
            yield Text(f"not measured: {case.backend} {case.precision}: {case.reason}")
    yield ""


def _peaks(cases: Sequence[Case]) -> Iterator[Text]:
    """What the shares are of, for the CPU and the GPU."""
    measured = [case for case in cases if case.ms_per_window is not None]
    of_cpu = [case for case in measured if case.backend == "openvino" or case.device.startswith("CPU")]
    for where, those in (("CPU", of_cpu), ("GPU", [case for case in measured if case not in of_cpu])):
        peaks = {case.precision: case.peak_gops for case in those}
        told = ", ".join(f"{precision} {peak:,.0f}" for precision, peak in peaks.items() if peak)
        if told:
            yield Text(f"the peak of this {where}, one large matrix product, in G operations/s: {told}")
        elif peaks:
            yield Text(f"the peak of this {where} is not known: torch, which measures it, is not installed")
