"""`swinstream capacity`: how many cameras this machine runs, found by running them.

A short run of a few cameras gives the cost of one, from which follows how many there should be; a run of that many
says whether it is so. From there on the count is raised or halved towards the bound between what was held and what
was not, until the two are within a tenth, or until eight runs were made. So the answer is always a number that was run,
never one that was calculated. Held is: every camera's whole rate, no frame and no window lost, p95 from frame to
decision at most 500 ms.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.bundle import Bundle
from stream.bench.command import STAGES, Wanted, measure
from stream.bench.footage import FootageError
from stream.bench.result import REAL_TIME
from stream.bench.session import SessionError
from stream.commands import FAILED, OK, USAGE, guarded, say
from stream.config import DEFAULT_MODEL

FIRST = 4
MOST_RUNS = 8
WARM_UP_S = 6.0
_AIM = 0.85  # of the processors' time: full ones leave nothing for a burst


def capacity(wanted: Wanted, as_json: bool) -> int:
    """`swinstream capacity`. wanted.cameras does not matter; its seconds are those of a run. Returns an exit code."""
    err = Console(stderr=True)
    with guarded(err) as code:
        Bundle.load(wanted.model or DEFAULT_MODEL)
        try:
            with tempfile.TemporaryDirectory(prefix="swinstream-footage-") as folder:
                runs = search(wanted, Path(folder), err)
        except FootageError as error:
            return say(err, error, USAGE)
        except SessionError as error:
            return say(err, error, FAILED)
        found = summary(runs)
        if as_json:
            sys.stdout.write(json.dumps(found) + "\n")
        else:
            _show(found)
        code[0] = OK if found["cameras"] else FAILED
    return code[0]


def search(wanted: Wanted, folder: Path, err: Console) -> list[dict[str, Any]]:
    """Run after run, until the bound is known. Raises what `measure` raises."""
    runs: list[dict[str, Any]] = []
    count: int | None = FIRST
    while count is not None and len(runs) < MOST_RUNS:
        run = measure(replace(wanted, cameras=count), None, folder, err, WARM_UP_S)
        runs.append(run)
        err.print(
            f"{count} cameras: {'held' if keeps_up(run) else 'missed ' + ', '.join(missed(run))}; "
            f"{run['core_ms_per_camera_s']:.1f} core-ms a camera, {run['busy_share']['processors']:.0%} busy",
            highlight=False,
            soft_wrap=True,
        )
        tried = {run["cameras"]: keeps_up(run) for run in runs}
        count = next_count(tried, predicted(runs[0], os.cpu_count() or 1))
    return runs


def missed(run: Mapping[str, Any]) -> list[str]:
    """The bars of a run that were not held; one that could not be measured is none that was."""
    return [bar for bar in REAL_TIME if not run["held"].get(bar, False)]


def keeps_up(run: Mapping[str, Any]) -> bool:
    return not missed(run)


def predicted(run: Mapping[str, Any], processors: int) -> int:
    """How many cameras there should be, by the cost of one. The film server's cost counts: it is here, too."""
    cost_ms = run["core_ms_per_camera_s"] + run["film_server_core_ms_per_camera_s"]
    return max(1, int(_AIM * 1000 * processors / max(cost_ms, 0.1)))


def next_count(tried: Mapping[int, bool], guess: int) -> int | None:
    """How many cameras to try next; None: the bound is known to a tenth. tried: whether so many were held."""
    held = max((count for count, good in tried.items() if good), default=0)
    above = min((count for count, good in tried.items() if not good and count > held), default=None)
    if held < guess and (above is None or guess < above) and guess not in tried:
        return guess
    if above is None:
        return -(-held * 5 // 4)
    if above - held <= max(1, held // 10):
        return None
    return (held + above) // 2


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """cameras: the most that were held. The bottleneck is that of the first run above it, or else of this one."""
    held = max((run for run in runs if keeps_up(run)), key=lambda run: run["cameras"], default=None)
    count = held["cameras"] if held else 0
    over = min((run for run in runs if run["cameras"] > count), key=lambda run: run["cameras"], default=None)
    told = over or held or runs[-1]
    stage = max(told["core_ms_by_stage"], key=lambda name: told["core_ms_by_stage"][name])
    limit = max(told["busy_share"], key=lambda name: told["busy_share"][name])
    best = held or told
    server = best["film_server_core_ms_per_camera_s"] / max(best["core_ms_per_camera_s"], 0.1)
    return {
        "cameras": count,
        "size": told["size"],
        "fps": told["fps"],
        "bottleneck": stage,
        "limited_by": limit,
        "busy_share": told["busy_share"],
        "missed_above": missed(told) if over else [],
        "core_ms_per_camera_s": best["core_ms_per_camera_s"],
        "core_ms_by_stage": best["core_ms_by_stage"],
        "latency_ms": best["latency_ms"],
        "rss_mib": best["rss_mib"],
        "cameras_without_film_server": int(count * (1 + server)),
        "processors": os.cpu_count(),
        "runs": [{"cameras": run["cameras"], "held": keeps_up(run), "missed": missed(run)} for run in runs],
    }


def _show(found: Mapping[str, Any]) -> None:
    out = Table(title=f"{found['size']} at {found['fps']} fps", title_justify="left", show_header=False)
    out.add_row("cameras that this machine runs", f"[bold]{found['cameras']}[/bold]")
    if found["cameras_without_film_server"] > found["cameras"]:
        out.add_row("about, with cameras elsewhere", str(found["cameras_without_film_server"]))
    out.add_row("largest stage", f"{found['bottleneck']}: {STAGES[found['bottleneck']]}")
    for name, share in found["busy_share"].items():
        out.add_row(f"  {name}", f"{share:.0%} busy" + (", the limit" if name == found["limited_by"] else ""))
    for stage, cost in found["core_ms_by_stage"].items():
        out.add_row(f"  {STAGES[stage]}", f"{cost:.1f} core-ms a camera-second")
    if found["missed_above"]:
        out.add_row("with more cameras", "missed " + ", ".join(found["missed_above"]))
    Console(highlight=False).print(out)
