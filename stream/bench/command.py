"""`swinstream bench cameras`. It returns an exit code: 0 done, 1 failed or a bar was missed, 2 wrong usage."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.bundle import Bundle
from stream.bench.footage import Film, FootageError, Format, films_for
from stream.bench.result import BARS, NO_FAULT, ONE_CAMERA_BARS, report, times_fewer, verdicts
from stream.bench.session import SLACK_S, Session, SessionError
from stream.commands import FAILED, OK, USAGE, guarded, say
from stream.config import DEFAULT_MODEL

WARM_UP_S = 10.0
STAGES = {
    "capture": "receive, decode, sample and scale",
    "flow": "RGB and optical flow",
    "network": "the network",
    "core": "events, journal, sockets",
}
BASELINE_NAMES = {
    "baseline": "the first-written stack: OpenCV, Farneback, Swin-T",
    "baseline_stateless": "the same network in torch, without state",
    "baseline_stateless_short": "  with less context",
    "baseline_stateless_compiled": "  compiled instead of torch",
}

Compare = Callable[[Film, Format, str | None, Callable[[str], None]], Mapping[str, Mapping[str, Any]]]
"""Measures stacks to compare with: (film, its format, model, told what is measured now) -> numbers by key."""


@dataclass(frozen=True)
class Wanted:
    """What is to be measured. footage: None for the drawn actor. idle: share of cameras that show a still scene.

    idle_gating: None turns it on where there are such cameras; without, every window of every camera is computed.
    """

    cameras: int
    picture: Format
    seconds: float
    footage: Path | None = None
    idle: float = 0.0
    model: str | None = None
    idle_gating: bool | None = None

    @property
    def gated(self) -> bool:
        return self.idle > 0 if self.idle_gating is None else self.idle_gating


def parse_size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT. Raises ValueError: the demo's drawings want multiples of 8 and of 2."""
    width, by, height = text.partition("x")
    if not (by and width.isdecimal() and height.isdecimal()):
        raise ValueError(f"--size is WIDTHxHEIGHT, as in 640x360, not '{text}'")
    size = int(width), int(height)
    if size[0] % 8 or size[1] % 2 or min(size) < 64:
        raise ValueError(f"--size {text}: the width must be a multiple of 8, the height of 2, and both at least 64")
    return size


def cameras(wanted: Wanted, compare: Compare | None, check: bool, as_json: bool) -> int:
    """`swinstream bench cameras`. compare: None leaves the comparison out. check: a bar that is missed is a failure."""
    err = Console(stderr=True)
    with guarded(err) as code:
        Bundle.load(wanted.model or DEFAULT_MODEL)  # a wrong name is told before anything is drawn
        try:
            with tempfile.TemporaryDirectory(prefix="swinstream-footage-") as folder:
                found = measure(wanted, compare, Path(folder), err)
        except FootageError as error:
            return say(err, error, USAGE)
        except SessionError as error:
            return say(err, error, FAILED)
        if as_json:
            sys.stdout.write(json.dumps(found) + "\n")
        else:
            Console(highlight=False).print(table(found))
        missed = [bar for bar, held in found["held"].items() if not held]
        for bar in missed:
            relation, limit = {**ONE_CAMERA_BARS, **BARS}[bar]
            err.print(f"missed: {bar} {relation} {limit:g}", style="yellow", highlight=False, soft_wrap=True)
        code[0] = FAILED if check and missed else OK
    return code[0]


def measure(
    wanted: Wanted, compare: Compare | None, folder: Path, err: Console, warm_up_s: float = WARM_UP_S
) -> dict[str, Any]:
    """folder: for footage made for this time. Raises FootageError, SessionError, DemoCameraError."""
    with err.status("making the footage, which is kept for the next time"):
        length_s = wanted.seconds + warm_up_s + SLACK_S
        chosen = films_for(wanted.cameras, wanted.idle, wanted.picture, wanted.footage, folder, length_s)
    films = [film for film, _ in chosen]
    with Session(films, model=wanted.model, idle_gating=wanted.gated) as session, _progress(err) as progress:
        live = progress.add_task("cameras", total=wanted.cameras)
        session.warm_up(warm_up_s, lambda n: progress.update(live, completed=n))
        task = progress.add_task("measuring", total=round(wanted.seconds))
        recording = session.record(wanted.seconds, lambda: progress.advance(task))
        found = report(recording, dict(zip(session.names, films, strict=True)), wanted.picture)
        found["engines"] = session.engines
    found["idle_gating"] = wanted.gated
    found["idle"] = sum(still for _, still in chosen)
    found["footage"] = "drawn actor" if wanted.footage is None else str(wanted.footage)
    baselines: Mapping[str, Mapping[str, Any]] = {}
    if compare is not None:
        film = next((film for film, still in chosen if not still), films[0])
        with err.status("") as status:
            name = "comparing with the stack '{}', as fast as it can".format
            baselines = compare(film, wanted.picture, wanted.model, lambda stack: status.update(name(stack)))
    found |= {"baseline": None, **baselines, "times_fewer": times_fewer(found, baselines)}
    found["held"] = verdicts(found)
    return found


def table(found: Mapping[str, Any]) -> Table:
    """For people."""
    idle = f", {found['idle']} of them idle" if found["idle"] else ""
    title = f"{found['cameras']} cameras, {found['size']} at {found['fps']} fps{idle}, {found['seconds']:.0f} s"
    out = Table(title=title, title_justify="left", show_header=False)
    row = out.add_row
    row("core-milliseconds per camera-second", f"[bold]{found['core_ms_per_camera_s']:.1f}[/bold]")
    for stage, what in STAGES.items():
        row(f"  {what}", f"{found['core_ms_by_stage'][stage]:.1f}")
    row("frames a second, slowest camera", f"{found['fps_min']:.2f}")
    row("windows computed a second, slowest camera", f"{found['windows_per_camera_s_min']:.2f}")
    row("frames dropped", _reasons({k: n for k, n in found["dropped_by_reason"].items() if k not in NO_FAULT}))
    row("windows skipped", _reasons(found["windows_skipped"]))
    row("last frame of a window to its decision", _latency(found["latency_ms"]))
    if found["actions"]:
        row("true start of an action to its event", _latency(found["action_to_event_ms"]))
        row("actions recognized", f"{found['actions_recognized']} of {found['actions']}")
    if found["not_live"]:
        row("cameras that were not live", f"{len(found['not_live'])} times, first {found['not_live'][0]}")
    row("memory", f"{found['rss_mib']:.0f} MiB, {found['rss_slope_mib_per_min']:+.2f} MiB a minute")
    row("this machine's processors were busy", f"{found['busy_share']['processors']:.0%}")
    for key, times in found["times_fewer"].items():
        row(BASELINE_NAMES[key], f"{found[key]['core_ms_per_camera_s']:.0f} core-ms, {times:.1f} times ours")
    return out


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in counts.items()) or "none"


def _latency(values: Mapping[str, float] | None) -> str:
    if values is None:
        return "nothing to measure"
    return f"{values['p50']:.0f} / {values['p95']:.0f} / {values['p99']:.0f} ms (p50 / p95 / p99)"


def _progress(err: Console) -> Progress:
    """Redrawn twice a second: what draws it must not weigh on what is measured."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    return Progress(*columns, TimeRemainingColumn(), console=err, refresh_per_second=2, disable=not err.is_terminal)
