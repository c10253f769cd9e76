"""The report of a soak, for people (Markdown) and programs (JSON)."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psutil

from tests.faults.chaos import Fault
from tests.faults.vitals import MIN_JUDGED_S, Sample, sparkline, trend

CHECKED = """\
- every start has exactly one end, with a reason, not before it; `seq` has no gap; `prev` is right; UTC and PTS agree
- a client that was stopped and started again got every event of the journal once and in order; so did a
  `swinstream subscribe` that was stopped (SIGSTOP) for the whole run and then went on
- every camera came back by itself, with no error class but those its fault may have
- the camera to which nothing was done was never lost, but with its worker
- every good edit was taken up, every bad one refused
- one recognition state for each stream, once all had come to rest
- memory, file handles and threads did not grow; no zombie, no process left behind, exit code 0
- no traceback and no password in the log, the events or the journal"""


@dataclass
class Report:
    """seconds: it took. streams: recognition streams at the end. violations: what did not hold, in words."""

    seconds: float
    cameras: int
    seed: int
    events: int
    reloads: int
    refusals: int
    streams: int
    faults: list[Fault]
    samples: list[Sample]
    violations: list[str]


def as_json(report: Report) -> dict[str, Any]:
    found = trend(report.samples)
    return {
        "seconds": round(report.seconds),
        "cameras": report.cameras,
        "seed": report.seed,
        "events": report.events,
        "reloads": report.reloads,
        "refused_edits": report.refusals,
        "faults": {kind: _figures(faults) for kind, faults in _by_kind(report.faults).items()},
        "memory": {
            "rss_mib": round(found.rss_mib, 1),
            "slope_percent_per_hour": round(100 * found.slope_per_hour, 2),
            "over_s": round(found.seconds),
        },
        "more_files": found.core.files,
        "more_threads": found.core.threads,
        "workers": {
            "more_mib": round(found.workers.mib, 1),
            "more_files": found.workers.files,
            "more_threads": found.workers.threads,
        },
        "violations": report.violations,
    }


def as_markdown(report: Report) -> str:
    found = trend(report.samples)
    slope = f"{100 * found.slope_per_hour:+.2f} %/h" if found.seconds >= MIN_JUDGED_S else "too short to say"
    held = "All invariants held." if not report.violations else f"{len(report.violations)} violations:"
    lines = [
        f"# Soak of {report.seconds / 60:.0f} minutes",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {psutil.cpu_count()} processors ({platform.machine()}), Python "
        f"{platform.python_version()}: {report.cameras} cameras, {len(report.faults)} faults, {report.events} events, "
        f"{report.reloads} live reloads and {report.refusals} refused edits. Seed {report.seed}.",
        "",
        f"**{held}**",
        "",
        *(f"- {violation}" for violation in report.violations),
        *([""] if report.violations else []),
        "Checked:",
        "",
        CHECKED,
        "",
        "| core, and all workers together | least | median | most | trend | over time |",
        "|---|---:|---:|---:|---:|---|",
        _row("memory, MiB", [s.rss_mib for s in report.samples], slope),
        _row("file handles", [s.files for s in report.samples], f"{found.core.files:+g}"),
        _row("threads", [s.threads for s in report.samples], f"{found.core.threads:+g}"),
        _row("workers: memory, MiB", [s.workers_mib for s in report.samples], f"{found.workers.mib:+.0f}"),
        _row("workers: file handles", [s.workers_files for s in report.samples], f"{found.workers.files:+g}"),
        _row("workers: threads", [s.workers_threads for s in report.samples], f"{found.workers.threads:+g}"),
        "",
        f"The trend of the memory is the median slope over the last {found.seconds / 60:.0f} minutes (Theil-Sen); "
        "all others are the median of the last third less that of the first, after warming up. "
        "Workers are killed and replaced all the time.",
        "",
        "Recovery is from a fault's end (or, if it is over at once, from its beginning) until its cameras are live.",
        "",
        "| fault | times | cameras lost | recovery p50, s | p95 | max |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind, faults in _by_kind(report.faults).items():
        figures = _figures(faults)
        times = [f"{figures[name]:.1f}" if name in figures else "" for name in ("p50_s", "p95_s", "max_s")]
        lines.append(f"| {kind} | {figures['times']} | {figures['lost']} | {' | '.join(times)} |")
    return "\n".join(lines)


def _row(name: str, values: Sequence[float], change: str) -> str:
    low, middle, high = (f"{value:.0f}" for value in (min(values), float(np.median(values)), max(values)))
    return f"| {name} | {low} | {middle} | {high} | {change} | `{sparkline(values)}` |"


def _by_kind(faults: Sequence[Fault]) -> dict[str, list[Fault]]:
    kinds = defaultdict(list)
    for fault in faults:
        kinds[fault.kind].append(fault)
    return dict(sorted(kinds.items()))


def _figures(faults: Sequence[Fault]) -> dict[str, float]:
    """Percentiles are of those by which a camera was lost, or had to begin anew."""
    figures: dict[str, float] = {"times": len(faults), "lost": sum(fault.lost for fault in faults)}
    recoveries = [fault.recovery_s for fault in faults if fault.recovery_s]
    if recoveries:
        p50, p95 = np.percentile(recoveries, [50, 95])
        figures |= {"p50_s": round(float(p50), 2), "p95_s": round(float(p95), 2), "max_s": round(max(recoveries), 2)}
    return figures
