"""What people see in a terminal: the live table of cameras, and events as lines. Pure: state in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stream.events import Phase
from stream.roster import CameraState, ZoneState
from stream.scheduler import SkipReason
from stream.wire import EventMessage

STATE_STYLES = {
    "live": "green",
    "degraded": "yellow",
    "connecting": "cyan",
    "reconnecting": "cyan",
    "lost": "red",
    "failed": "bold red",
}
_NORMAL_DROPS = {"not_sampled", "phase"}


def camera_table(cameras: Mapping[str, CameraState], header: str, max_rows: int = 100) -> Table:
    """One row a zone: how its camera is, what was dropped, how late, and what the network sees now.

    Where there are more than max_rows, cameras that are not well come first and the last row counts the rest.
    """
    table = Table(title=header, title_justify="left", expand=True, pad_edge=False, box=SIMPLE_HEAD)
    for name in ("camera", "zone", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("fps", "decoded", "sampled", "dropped", "skipped", "latency"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("sees now", no_wrap=True, min_width=14)
    rows = [(name, camera, zone) for name, camera in cameras.items() for zone in camera.zones]
    if len(rows) > max_rows:
        rows.sort(key=lambda row: row[1].running)
        left_out = len(rows) - max_rows + 1
        rows = rows[: max_rows - 1]
    else:
        left_out = 0
    for name, camera, zone in rows:
        table.add_row(name, zone, *_camera_cells(camera), *_zone_cells(camera.zones[zone]))
    if left_out:
        table.add_row(Text(f"and {left_out} more", "dim"))
    return table


def _camera_cells(camera: CameraState) -> Iterable[RenderableType]:
    status, counters = camera.status, camera.counters
    state = "ended" if camera.finished is not None and camera.finished.reason == "eof" else status.state
    text = Text(state, STATE_STYLES.get(state, ""))
    if status.error is not None:
        text.append(f" {status.error.value}", "red")
    yield text
    if counters is None:
        yield from ("", "", "", "")
        return
    dropped = sum(n for reason, n in counters.dropped.items() if reason not in _NORMAL_DROPS)
    yield f"{counters.fps:.1f}"
    yield f"{counters.decoded:,}"
    yield f"{counters.sampled:,}"
    yield Text(f"{dropped:,}", "yellow" if dropped else "")


def _zone_cells(zone: ZoneState) -> Iterable[RenderableType]:
    skipped = sum(count for reason, count in zone.skipped.items() if reason != SkipReason.IDLE)  # idle is well
    yield Text(f"{skipped:,}", "yellow" if skipped else "")
    yield "" if zone.latency_ms is None else f"{zone.latency_ms:.0f} ms"
    open_events, top = zone.machine.open_events, zone.machine.top
    if open_events:
        yield Text(", ".join(f"{event.label} {event.score:.2f}" for event in open_events), "bold green")
    elif zone.gate.resting:
        yield Text("nothing moves", "dim")
    elif top is not None:
        yield Text(f"{top[0]} {top[1]:.2f}", "dim")
    else:
        yield ""


def local_time(iso: str) -> str:
    """`12:00:03.1`, in this machine's time zone, of an event's time."""
    moment = datetime.fromisoformat(iso).astimezone()
    return f"{moment:%H:%M:%S}.{moment.microsecond // 100_000}"


def event_text(event: EventMessage) -> Text:
    """An event's start or end as a line; updates are for machines."""
    where = Text(f"{event.camera}/{event.zone} ", "dim")
    if event.phase is Phase.END:
        line = Text.assemble(where, (event.label, "bold"), f" ended {local_time(event.end or event.start)}")
        line.append(f"   (since {local_time(event.start)}, peak {event.peak:.2f}, {event.reason})", "dim")
        return line
    line = Text.assemble(where, (event.label, "bold green"), f" {event.phase.value}ed {local_time(event.start)}")
    return line.append(f"   (score {event.score:.2f})", "dim")


def with_recent(table: RenderableType, events: Iterable[EventMessage]) -> Group:
    """The table with the last events below it."""
    return Group(table, *(event_text(event) for event in events))
