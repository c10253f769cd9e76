"""What must hold of a run's events, whatever happened: pure functions over what the journal and the clients have."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from stream.events import Phase
from stream.wire import EventMessage, Position, utc_ns


def journal_events(path: Path) -> list[EventMessage]:
    """All events of a journal, in order; also while it is being written."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)) as db:
        rows = db.execute("SELECT message FROM events ORDER BY n, seq").fetchall()
    return [EventMessage.parse(text) for (text,) in rows]


def broken(events: Sequence[EventMessage], *, over: bool = True) -> list[str]:
    """What is wrong with a journal's events, in words. over: its last run has ended, and every event with it."""
    return [*_places(events), *_lives(events, over=over)]


def _places(events: Iterable[EventMessage]) -> Iterable[str]:
    """seq without a gap in each run, and each camera's `prev`."""
    seqs: dict[str, int] = {}
    last: dict[str, Position] = {}
    for event in events:
        expected = seqs.get(event.run, 0) + 1
        if event.seq != expected:
            yield f"{event.position}: seq {expected} was to come"
        seqs[event.run] = event.seq
        if event.prev != last.get(event.camera):
            yield f"{event.position}: prev is {event.prev}, and the camera's event before is {last.get(event.camera)}"
        last[event.camera] = event.position


def _lives(events: Iterable[EventMessage], *, over: bool) -> Iterable[str]:
    """Every event starts once, then goes on, then ends once with a reason, not before it started."""
    open_: dict[str, EventMessage] = {}
    ended: set[str] = set()
    for event in events:
        where = f"{event.position} ({event.camera}, {event.id})"
        if event.id in ended:
            yield f"{where}: {event.phase} after the end"
        elif (event.phase is Phase.START) != (event.id not in open_):
            yield f"{where}: {event.phase}, and it {'has' if event.id in open_ else 'has not'} started"
        if event.phase is not Phase.END:
            open_.setdefault(event.id, event)
            continue
        started = open_.pop(event.id, None)
        ended.add(event.id)
        if event.reason is None or event.end is None or event.pts.end_ns is None:
            yield f"{where}: an end without a reason or a time"
        elif started is not None:
            yield from _span(where, started, event)
    if over:
        yield from (f"{event.position} ({event.camera}, {event.id}): never ended" for event in open_.values())


def _span(where: str, start: EventMessage, end: EventMessage) -> Iterable[str]:
    """The start is told the same, and UTC and PTS agree about how long it took, also where a clock was set."""
    assert end.end is not None
    assert end.pts.end_ns is not None
    if (start.start, start.pts.start_ns) != (end.start, end.pts.start_ns):
        yield f"{where}: it began at {start.start}, and its end says {end.start}"
    pts_ns, passed_ns = end.pts.end_ns - end.pts.start_ns, utc_ns(end.end) - utc_ns(end.start)
    if pts_ns < 0:
        yield f"{where}: it ends before it starts"
    if abs(pts_ns - passed_ns) > 2_000_000:  # both are cut to milliseconds
        yield f"{where}: {pts_ns / 1e9:.3f} s by PTS and {passed_ns / 1e9:.3f} s by UTC"


def undelivered(journal: Sequence[EventMessage], client: Sequence[EventMessage]) -> list[str]:
    """Whether a client got every event of the journal once and in order."""
    wrote, got = ([event.position for event in events] for events in (journal, client))
    if wrote == got:
        return []
    n = next((n for n, (w, g) in enumerate(zip(wrote, got, strict=False)) if w != g), min(len(wrote), len(got)))
    at = [str(places[n]) if n < len(places) else "nothing" for places in (wrote, got)]
    return [f"a client got {len(got)} of {len(wrote)} events; the first that differs: {at[0]} was due, {at[1]} came"]
