"""Journal: every event, in order, on disk before anyone is told of it.

An SQLite file in WAL mode. Each process that opens it is a *run* with a ULID of its own, greater than that of
every run before, so runs sort as they happened even if the clock was set back. Within a run events count from
1 without a gap. A transaction costs about 0.1 ms and survives `kill -9`; after a power cut the file is intact,
but the last moments may be missing (`synchronous=NORMAL`: an fsync for every event would hold up the core).

While the disk is full, or the file cannot be written for any other reason, events are held in memory, in order, and
read from there (`stream.journal_backlog`); `trouble` says so until they are written.

Used by one thread; other processes may read the file, but only one may write: `<file>.lock` sees to that.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Literal

from ulid import ULID

from stream.events import EndReason, Phase
from stream.frame import NS_PER_S
from stream.home import expanded
from stream.journal_backlog import Backlog, Hole, MarkFile, Row
from stream.journal_file import (
    BROKEN,
    JournalError,
    UnknownRunError,
    connect,
    damaged,
    default_path,
    is_damage,
    locked,
    one_line,
    set_aside,
)
from stream.journal_pages import Page, Pages
from stream.wire import EventDraft, EventMessage, Latency, Position, PtsSpan, iso_utc, utc_ns

__all__ = ["Journal", "JournalError", "Page", "Retention", "UnknownRunError"]

_PRUNE_ROWS = 500  # a call; some 10 ms

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept: events not older than max_age_s, and as many of the newest as fit into max_bytes."""

    max_age_s: float = 30 * 86400
    max_bytes: int = 256 << 20


class Journal:
    """The journal in `path`, open for a new run. Raises JournalError.

    trouble: why events cannot be written now, or "". failures: attempts to write that failed.
    recovered: the `crashed` ends of what a killed run left open. They are already written, as the first events
    of this run, and wait to be published.
    move_aside: rename a damaged file and begin a new one; otherwise nothing is touched and opening fails.
    now_ns: UTC in nanoseconds.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        retention: Retention | None = None,
        move_aside: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        try:
            self.path = expanded(path or default_path()).resolve()
        except ValueError as error:
            raise JournalError(f"cannot use the journal {error}") from None
        self._retention = retention or Retention()
        self._now_ns = now_ns
        self.run, self._n, self._seq = "", 0, 0
        self._last: dict[str, Position] = {}
        self._open: dict[str, tuple[str, int]] = {}  # started and not ended: the last message, and up to when
        self.trouble, self.failures = "", 0
        with contextlib.ExitStack() as undo:
            self._lock = locked(self.path)
            undo.callback(self._lock.release)
            try:
                try:
                    self.recovered = self._begin()
                except BROKEN as error:
                    if not is_damage(error):
                        raise
                    if not move_aside:
                        raise damaged(self.path, error) from None
                    set_aside(self.path, now_ns())
                    self.recovered = self._begin()
            except (*BROKEN, OSError) as error:
                raise JournalError(f"cannot use the journal {self.path}: {one_line(error)}") from None
            undo.pop_all()

    # ---- writing

    def append(self, drafts: Sequence[EventDraft]) -> list[EventMessage]:
        """Give events their places and write them, all or none. What cannot be written is held: see `trouble`."""
        written_ns = self._now_ns()
        placed: list[EventMessage] = []
        rows: list[Row] = []
        for draft in drafts:
            self._seq += 1
            message = EventMessage.place(draft, self.run, self._seq, self._last.get(draft.camera))
            text = message.json_text()
            rows.append(Row(self._n, self._seq, written_ns, draft.camera, message.topic, text))
            if draft.phase is Phase.END:
                self._open.pop(draft.id, None)
            else:
                self._open[draft.id] = (text, draft.at_ns)
            self._last[draft.camera] = message.position
            placed.append(message)
        if self._backlog.rows or not self._write(rows, {d.camera for d in drafts}, {d.id for d in drafts}):
            self._backlog.hold(rows)
        return placed

    def write_held(self) -> None:
        """Write what is held, if that is possible now: in one go (0.1 s for all), so that it is whole at any moment."""
        if (rows := self._backlog.rows) and self._write(rows, self._last, None):
            self._backlog.written()

    def prune(self) -> bool:
        """Delete some of what retention no longer keeps; true if there is more of it. Raises JournalError."""
        db = self._db
        try:
            oldest = db.execute(
                "SELECT run, seq, n, written_ns FROM events JOIN runs USING (n) ORDER BY n, seq LIMIT ?", (_PRUNE_ROWS,)
            ).fetchall()
            before_ns = self._now_ns() - round(self._retention.max_age_s * NS_PER_S)
            count = sum(1 for _ in takewhile(lambda row: row[3] < before_ns, oldest))
            if self._used_bytes() > self._retention.max_bytes:
                count = len(oldest)
            if not count:
                return False
            _, seq, n, _ = oldest[count - 1]
        except BROKEN as error:
            raise self._failed("read", error) from None
        with self._transaction() as db:
            db.execute("DELETE FROM events WHERE (n, seq) <= (?, ?)", (n, seq))
            db.execute("DELETE FROM holes WHERE (n, last) <= (?, ?)", (n, seq))
            kept = self._pages.next_kept(n, seq, self.head)
            db.execute("DELETE FROM pruned")
            db.execute("INSERT INTO pruned VALUES (?, ?)", (kept.run, kept.seq))
        self._backlog.holes = [hole for hole in self._backlog.holes if (hole.n, hole.last) > (n, seq)]
        with contextlib.suppress(sqlite3.Error):  # space is given back another time if not now
            db.execute(f"PRAGMA incremental_vacuum({_PRUNE_ROWS})").fetchall()
        return count == _PRUNE_ROWS

    def close(self) -> None:
        """May be called twice. Events that are still open will be ended as crashed by the next run."""
        self.write_held()
        if rows := self._backlog.rows:
            _log.error("%s; of this run, events %d to %d are lost", self.trouble, rows[0].seq, rows[-1].seq)
            rows.clear()  # their mark stays, for the next run
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("UPDATE runs SET closed = 1 WHERE n = ?", (self._n,))
        self._db.close()
        self._lock.release()

    # ---- reading

    @property
    def head(self) -> Position:
        """The last event, or the beginning of this run."""
        return Position(run=self.run, seq=self._seq)

    @property
    def last(self) -> dict[str, Position]:
        """Each camera's last event."""
        return dict(self._last)

    @property
    def held(self) -> int:
        """Events that wait in memory to be written."""
        return len(self._backlog.rows)

    @property
    def lost(self) -> int:
        """Events of this run that the journal will never have."""
        return self._backlog.lost

    @property
    def pruned_before(self) -> Position | None:
        """The oldest event kept, if older ones have been deleted. Raises JournalError."""
        try:
            return self._pages.pruned_before
        except BROKEN as error:
            raise self._failed("read", error) from None

    def read(self, after: Position | Literal["first", "last"], camera: str | None, limit: int) -> Page:
        """Up to `limit` events after a position, of one camera or all. Raises JournalError, UnknownRunError.

        A page does not go over a hole: it ends before it, and the next one begins after it and says so (`kept_from`).
        """
        try:
            return self._pages.read(after, camera, limit, head=self.head)
        except BROKEN as error:
            raise self._failed("read", error) from None

    # ---- inside

    def _begin(self) -> list[EventMessage]:
        """Open the file for a new run, and write the ends of what the last one left open."""
        self._db = db = connect(self.path)
        try:
            mark = MarkFile(self.path.with_name(self.path.name + ".unwritten"))
            newest = db.execute("SELECT run FROM runs ORDER BY n DESC LIMIT 1").fetchone()
            run = ULID()
            if newest and str(run) <= newest[0]:  # the clock was set back
                run = ULID.from_int(int(ULID.from_str(newest[0])) + 1)
            self.run, self._seq, self._open = str(run), 0, {}
            places = db.execute("SELECT camera, run, seq FROM cameras")
            self._last = {camera: Position(run=run, seq=seq) for camera, run, seq in places}
            left_open = db.execute("SELECT message, at_ns FROM open_events ORDER BY rowid").fetchall()
            ends = [_crashed(EventMessage.parse(text), at_ns) for text, at_ns in left_open]

            self._backlog = Backlog(self.run, mark, self._holes(mark))
            self._pages = Pages(db, self._backlog)
            db.execute("UPDATE runs SET closed = 1 WHERE closed = 0")
            row = (self.run, self._now_ns())
            self._n = db.execute("INSERT INTO runs (run, opened_ns, closed) VALUES (?, ?, 0)", row).lastrowid or 0
            # A kill between here and there leaves a run without events, and the open events to the next run.
            return self.append(ends)
        except BaseException:
            db.close()
            raise

    def _holes(self, mark_file: MarkFile) -> list[Hole]:
        """Those known, and the one that the last run may have left."""
        db, mark = self._db, mark_file.read()
        if mark is not None:
            found = db.execute(
                "SELECT n, (SELECT max(seq) FROM events WHERE n = runs.n) FROM runs WHERE run = ?", (mark.run,)
            )
            n, written = found.fetchone() or (None, None)
            first = max(mark.first, (written or 0) + 1)
            if n is not None and first <= mark.last:
                _log.error("events %s:%d to %d could not be written and are lost", mark.run, first, mark.last)
                db.execute("INSERT OR IGNORE INTO holes VALUES (?, ?, ?)", (n, first, mark.last))
                # Any camera's last event may have been among them.
                self._last = {camera: Position(run=mark.run, seq=mark.last) for camera in self._last}
                db.execute("UPDATE cameras SET run = ?, seq = ?", (mark.run, mark.last))
            mark_file.write(None)
        return [Hole(*row) for row in db.execute("SELECT n, first, last FROM holes ORDER BY n, first")]

    def _write(self, rows: Collection[Row], cameras: Collection[str], ids: Collection[str] | None) -> bool:
        """Rows, the last places of these cameras and these open events (None: all), and with all of them the holes."""
        try:
            with self._transaction() as db:
                db.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
                places = ((camera, self._last[camera].run, self._last[camera].seq) for camera in cameras)
                db.executemany("INSERT OR REPLACE INTO cameras VALUES (?, ?, ?)", places)
                if ids is None:
                    db.execute("DELETE FROM open_events")
                    holes = ((hole.n, hole.first, hole.last) for hole in self._backlog.holes)
                    db.executemany("INSERT OR REPLACE INTO holes VALUES (?, ?, ?)", holes)
                    ids = self._open.keys()
                db.executemany("DELETE FROM open_events WHERE id = ?", ((id_,) for id_ in ids))
                still = ((id_, *self._open[id_]) for id_ in ids if id_ in self._open)
                db.executemany("INSERT INTO open_events VALUES (?, ?, ?)", still)
        except JournalError as error:
            self.trouble, self.failures = str(error), self.failures + 1
            return False
        self.trouble = ""
        return True

    def _used_bytes(self) -> int:
        def pragma(name: str) -> int:
            return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

        return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
        except BROKEN as error:
            raise self._failed("written", error) from None

    def _failed(self, what: str, error: Exception) -> JournalError:
        return JournalError(f"the journal {self.path} cannot be {what}: {one_line(error)}")


def _crashed(message: EventMessage, at_ns: int) -> EventDraft:
    """The end of an event that a killed run left open, at the last time known of it."""
    at_ns = max(at_ns, message.pts.start_ns)
    end_utc_ns = utc_ns(message.start) + at_ns - message.pts.start_ns
    fields = {name: getattr(message, name) for name in EventDraft.model_fields if name in EventMessage.model_fields}
    fields |= {
        "phase": Phase.END,
        "end": iso_utc(end_utc_ns),
        "pts": PtsSpan(start_ns=message.pts.start_ns, end_ns=at_ns),
        "latency_ms": Latency(),
        "reason": EndReason.CRASHED,
    }
    return EventDraft(**fields, at_ns=at_ns)
