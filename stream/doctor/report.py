"""What the doctor found, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stream.doctor.check import Check

_GOOD, _BAD, _ABSENT = Text("ok", style="green"), Text("MISSING", style="bold red"), Text("-", style="yellow")


def check_table(checks: Sequence[Check]) -> Table:
    """A row for each; what to do stands below what was found."""
    table = Table(title="This machine", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        state = _GOOD if check.ok else _BAD if check.needed else _ABSENT
        told = Text(check.found, style="" if check.ok else "dim")
        if check.advice:
            told.append(f"\n-> {check.advice}", style="yellow" if check.needed or check.ok else "dim")
        table.add_row(state, check.name, told)
    return table


def camera_table(camera: dict[str, Any]) -> RenderableType:
    """camera: as in `--json`."""
    table = Table(title=str(camera["uri"]), title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.show_header = False
    if camera["error"] is None:
        for name, value in _rows(camera):
            table.add_row(name, value)
    else:
        table.add_row(Text(camera["error"], style="bold red"), Text(camera["message"]))
    advice = [Text(f"-> {text}", style="yellow") for text in camera["advice"]]
    nothing = [] if advice or camera["error"] else [Text("nothing is wrong with it", style="green")]
    return Group(table, *advice, *nothing)


def verdict(answer: dict[str, Any]) -> Text:
    """Which engine serves, and whether all is well."""
    engine = answer["engine"]
    named = f"{engine} {answer['precision']}" if engine else "none"
    text = Text.assemble(("engine  ", "bold"), f"{named} ({answer['reason']})")
    if answer.get("parity"):
        text.append(f"\nparity  {answer['parity']}", style="dim")
    missing = ", ".join(check.name for check in answer["checks"] if check.needed and not check.ok)
    if missing:
        return text.append(f"\ncameras cannot be watched yet: {missing}", style="bold red")
    if not answer.get("camera", {}).get("ok", True):
        return text.append("\nall that is needed is there, but the camera gives no picture", style="bold red")
    return text.append("\nall that is needed is there", style="green")


def _rows(camera: dict[str, Any]) -> list[tuple[str, str]]:
    profile = " ".join(filter(None, (camera["profile"], camera["level"] and f"level {camera['level']}")))
    keys, interval = camera["keyframes"], camera["keyframe_interval_s"]
    drift, error = camera["drift_ppm"], camera["drift_error_ppm"]
    offset = camera["clock_offset_s"]
    reports = "sender reports" if camera["sender_reports"] else "no sender reports"
    return [
        ("codec", f"{camera['codec']}{f' ({profile})' if profile else ''}"),
        ("size", f"{camera['width']}x{camera['height']}{', interlaced' if camera['interlaced'] else ''}"),
        ("frames a second", f"{_number(camera['fps'])} delivered, {_number(camera['fps_declared'])} declared"),
        ("key frames", f"every {interval:.2f} s" if interval else f"{keys} in {camera['watched_s']:.1f} s"),
        ("B-frames", "yes" if camera["b_frames"] else "no"),
        ("bit rate", _number(camera["bit_rate_kbps"], "kbit/s")),
        ("first picture", f"after {camera['first_picture_s']:.2f} s"),
        ("longest gap", _number(camera["longest_gap_s"], "s")),
        ("clock", f"{camera['clock']}, {reports}" + ("" if offset is None else f", {offset:+.2f} s from ours")),
        ("jitter", _number(camera["jitter_ms"], "ms")),
        ("clock drift", "not known" if drift is None else f"{drift:+.0f} ppm, give or take {error:.0f}"),
        ("packets lost", _number(camera["packets_lost"])),
        ("cost", _number(camera["core_ms_per_s"], "core-ms a second, to receive and decode")),
        ("watched", f"{camera['watched_s']:.1f} s, {camera['pictures']} pictures"),
    ]


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "not known"
    return f"{value:,.0f} {unit}".strip() if value >= 1000 or value == int(value) else f"{value:.3g} {unit}".strip()
