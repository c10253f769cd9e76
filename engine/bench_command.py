"""`swinstream bench engine`: a line per backend, precision and batch."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from engine.bench import Case, measure
from engine.bundle import Bundle, BundleError, shipped


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
    cases = []
    with errors.status("measuring"):
        for bundle in bundles:
            for case in measure(bundle, [int(size) for size in sizes], threads or cores, seconds, torch):
                cases.append(case)
                if as_json:
                    sys.stdout.write(json.dumps(case.to_json()) + "\n")
                    sys.stdout.flush()
    if not as_json:
        Console().print(_table(cases))
    return 0


def _table(cases: Sequence[Case]) -> Table:
    table = Table("model", "backend", "precision", "batch", "ms a window", "windows a second", "of the peak", "on")
    for case in cases:
        if case.ms_per_window is None or case.windows_per_s is None:
            table.add_row(case.model, case.backend, case.precision, str(case.batch), "", "", "", case.reason)
            continue
        share = "" if case.peak_share is None else f"{case.peak_share:.0%}"
        numbers = f"{case.ms_per_window:.2f}", f"{case.windows_per_s:.1f}", share
        table.add_row(case.model, case.backend, case.precision, str(case.batch), *numbers, case.device)
    return table
