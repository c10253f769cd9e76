"""Pages: reads a journal in order, what is written and then what its backlog holds. Holes are told, not passed over."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from stream.journal_backlog import Backlog, Hole, Row
from stream.journal_file import UnknownRunError
from stream.wire import Position


@dataclass(frozen=True, slots=True)
class Page:
    """Part of the journal: (topic, JSON) of each event, and where to go on.

    kept_from: the oldest event kept, if older ones have been deleted; or, if what comes next after the position asked
    for was lost because the disk did not take it, the first event after that.
    """

    events: list[tuple[str, str]]
    next: Position
    more: bool
    kept_from: Position | None = None


class Pages:
    """Raises sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection, backlog: Backlog) -> None:
        self._db, self._backlog = db, backlog

    @property
    def pruned_before(self) -> Position | None:
        """The oldest event kept, if older ones have been deleted."""
        row = self._db.execute("SELECT run, seq FROM pruned").fetchone()
        return Position(run=row[0], seq=row[1]) if row else None

    def read(
        self, after: Position | Literal["first", "last"], camera: str | None, limit: int, *, head: Position
    ) -> Page:
        """See `Journal.read`. head: the last event there is. Raises UnknownRunError too."""
        kept_from = self.pruned_before
        if after == "last":
            return Page([], head, more=False, kept_from=kept_from)
        n, seq = (-1, 0) if after == "first" else (self._ordinal(after.run), after.seq)
        hole = self._hole_after(n, seq)
        if hole is not None and (hole.n, hole.first) <= (n, seq + 1):
            n, seq = hole.n, hole.last
            kept_from, hole = self.next_kept(n, seq, head), self._hole_after(n, seq)
        rows = self._rows(n, seq, hole, camera, limit + 1)
        events = [(row.topic, row.message) for row in rows[:limit]]
        if len(rows) > limit:
            return Page(events, self._position(rows[limit - 1].n, rows[limit - 1].seq), more=True, kept_from=kept_from)
        if hole is not None:  # the next page begins there, and says so
            return Page(events, self._position(hole.n, hole.first - 1), more=True, kept_from=kept_from)
        return Page(events, head, more=False, kept_from=kept_from)

    def next_kept(self, n: int, seq: int, head: Position) -> Position:
        """The first event after a place that there is, or else the one that will come next."""
        rows = self._rows(n, seq, None, None, 1)
        return self._position(rows[0].n, rows[0].seq) if rows else Position(run=head.run, seq=head.seq + 1)

    def _rows(self, n: int, seq: int, until: Hole | None, camera: str | None, limit: int) -> list[Row]:
        """The next rows after a place and before a hole."""
        end = (until.n, until.first) if until is not None else (2**63 - 1, 0)
        of_camera, name = (" AND camera = ?", [camera]) if camera is not None else ("", [])
        found = self._db.execute(
            "SELECT n, seq, written_ns, camera, topic, message FROM events "
            f"WHERE (n, seq) > (?, ?) AND (n, seq) < (?, ?){of_camera} ORDER BY n, seq LIMIT ?",
            [n, seq, *end, *name, limit],
        )
        rows = [Row(*row) for row in found]
        held = (row for row in self._backlog.rows if (n, seq) < (row.n, row.seq) < end and camera in (None, row.camera))
        return rows + list(islice(held, limit - len(rows)))

    def _hole_after(self, n: int, seq: int) -> Hole | None:
        """The first hole of which something lies after a place."""
        return next((hole for hole in self._backlog.holes if (hole.n, hole.last) > (n, seq)), None)

    def _ordinal(self, run: str) -> int:
        row = self._db.execute("SELECT n FROM runs WHERE run = ?", (run,)).fetchone()
        if row is None:
            raise UnknownRunError("this journal knows no such run")
        return int(row[0])

    def _position(self, n: int, seq: int) -> Position:
        (run,) = self._db.execute("SELECT run FROM runs WHERE n = ?", (n,)).fetchone()
        return Position(run=run, seq=seq)
