"""Journal: every event, in order, on disk before anyone is told of it.

An SQLite file in WAL mode. Each process that opens it is a *run* with a ULID of its own, greater than that of
every run before, so runs sort as they happened even if the clock was set back. Within a run events count from
1 without a gap. A transaction costs about 0.1 ms and survives `kill -9`; after a power cut the file is intact,
but the last moments may be missing (`synchronous=NORMAL`: an fsync for every event would hold up the core).

Used by one thread; other processes may read the file, but only one may write: `<file>.lock` sees to that.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Literal

from ulid import ULID

from stream.events import EndReason, Phase
from stream.frame import NS_PER_S
from stream.home import expanded
from stream.journal_file import connect, default_path
from stream.lock import FileLock, LockedError
from stream.wire import EventDraft, EventMessage, Latency, Position, PtsSpan, iso_utc, utc_ns

_PRUNE_ROWS = 500  # a call; some 10 ms


class JournalError(Exception):
    """The journal cannot be opened, read or written. The text says what to do."""


class UnknownRunError(JournalError):
    """A position of a run that this journal has never seen."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept: events not older than max_age_s, and as many of the newest as fit into max_bytes."""

    max_age_s: float = 30 * 86400
    max_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Page:
    """Part of the journal: (topic, JSON) of each event, and where to go on."""

    events: list[tuple[str, str]]
    next: Position
    more: bool


class Journal:
    """The journal in `path`, open for a new run. Raises JournalError.

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
        with contextlib.ExitStack() as undo:
            self._lock = self._locked()
            undo.callback(self._lock.release)
            try:
                self._db = self._opened(move_aside)
                undo.callback(self._db.close)
                self.recovered = self._begin_run()
            except sqlite3.Error as error:
                raise JournalError(f"cannot use the journal {self.path}: {error}") from None
            undo.pop_all()

    # ---- writing

    def append(self, drafts: Sequence[EventDraft]) -> list[EventMessage]:
        """Write events, all or none of them, and give them their places. Raises JournalError."""
        seq, last, written_ns = self._seq, dict(self._last), self._now_ns()
        placed = []
        with self._transaction() as db:
            for draft in drafts:
                seq += 1
                message = EventMessage.place(draft, self.run, seq, last.get(draft.camera))
                text = message.json_text()
                row = (self._n, seq, written_ns, draft.camera, message.topic, text)
                db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
                if draft.phase is Phase.END:
                    db.execute("DELETE FROM open_events WHERE id = ?", (draft.id,))
                else:
                    db.execute("INSERT OR REPLACE INTO open_events VALUES (?, ?, ?)", (draft.id, text, draft.at_ns))
                last[draft.camera] = message.position
                placed.append(message)
            for camera in {draft.camera for draft in drafts}:
                place = last[camera]
                db.execute("INSERT OR REPLACE INTO cameras VALUES (?, ?, ?)", (camera, place.run, place.seq))
        self._seq, self._last = seq, last
        return placed

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
        except sqlite3.Error as error:
            raise self._failed("read", error) from None
        with self._transaction():
            db.execute("DELETE FROM events WHERE (n, seq) <= (?, ?)", (n, seq))
            kept = db.execute("SELECT run, seq FROM events JOIN runs USING (n) ORDER BY n, seq LIMIT 1").fetchone()
            db.execute("DELETE FROM pruned")
            db.execute("INSERT INTO pruned VALUES (?, ?)", kept or (self.run, self._seq + 1))
        with contextlib.suppress(sqlite3.Error):  # space is given back another time if not now
            db.execute(f"PRAGMA incremental_vacuum({_PRUNE_ROWS})").fetchall()
        return count == _PRUNE_ROWS

    def close(self) -> None:
        """May be called twice. Events that are still open will be ended as crashed by the next run."""
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
    def pruned_before(self) -> Position | None:
        """The oldest event kept, if older ones have been deleted. Raises JournalError."""
        try:
            row = self._db.execute("SELECT run, seq FROM pruned").fetchone()
        except sqlite3.Error as error:
            raise self._failed("read", error) from None
        return Position(run=row[0], seq=row[1]) if row else None

    def read(self, after: Position | Literal["first", "last"], camera: str | None, limit: int) -> Page:
        """Up to `limit` events after a position, of one camera or all. Raises JournalError, UnknownRunError."""
        if after == "last":
            return Page([], self.head, more=False)
        try:
            n, seq = (-1, 0) if after == "first" else (self._ordinal(after.run), after.seq)
            which, values = ("camera = ? AND ", [camera]) if camera is not None else ("", [])
            rows = self._db.execute(
                f"SELECT topic, message, n, seq FROM events WHERE {which}(n, seq) > (?, ?) ORDER BY n, seq LIMIT ?",
                [*values, n, seq, limit + 1],
            ).fetchall()
            if len(rows) <= limit:
                return Page([(topic, text) for topic, text, *_ in rows], self.head, more=False)
            rows = rows[:limit]
            run = self._db.execute("SELECT run FROM runs WHERE n = ?", (rows[-1][2],)).fetchone()[0]
        except sqlite3.Error as error:
            raise self._failed("read", error) from None
        return Page([(topic, text) for topic, text, *_ in rows], Position(run=run, seq=rows[-1][3]), more=True)

    # ---- inside

    def _locked(self) -> FileLock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return FileLock(self.path.with_name(self.path.name + ".lock"))
        except LockedError as error:
            by = f"process {error.holder}" if error.holder else "another process"
            raise JournalError(
                f"the journal {self.path} is in use by {by}: stop that one, or give this one a journal of its own "
                "(--journal FILE, or journal.path in the configuration)"
            ) from None
        except OSError as error:
            raise JournalError(
                f"cannot use {self.path.parent} for the journal: {error.strerror}; choose another file with --journal "
                "or journal.path"
            ) from None

    def _opened(self, move_aside: bool) -> sqlite3.Connection:
        try:
            return connect(self.path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # cannot be opened, read-only, full disk: not damage
                raise
            if not move_aside:
                raise JournalError(
                    f"the journal {self.path} is damaged or not a journal ({error}). Nothing was changed. Move it and "
                    "its -wal file away, or set journal.move_aside_damaged: true to have that done, or choose another "
                    "file with --journal"
                ) from None
        stamp = datetime.fromtimestamp(self._now_ns() / NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ")
        for suffix in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                file.rename(self.path.with_name(f"{self.path.name}.damaged-{stamp}{suffix}"))
        return connect(self.path)

    def _begin_run(self) -> list[EventMessage]:
        db = self._db
        newest = db.execute("SELECT run FROM runs ORDER BY n DESC LIMIT 1").fetchone()
        run = ULID()
        if newest and str(run) <= newest[0]:  # the clock was set back
            run = ULID.from_int(int(ULID.from_str(newest[0])) + 1)
        self.run = str(run)
        self._last = {
            camera: Position(run=r, seq=seq) for camera, r, seq in db.execute("SELECT camera, run, seq FROM cameras")
        }
        left_open = db.execute("SELECT message, at_ns FROM open_events ORDER BY rowid").fetchall()
        cursor = db.execute("INSERT INTO runs (run, opened_ns, closed) VALUES (?, ?, 0)", (self.run, self._now_ns()))
        self._n = cursor.lastrowid or 0
        # A kill between these two transactions leaves a run without events, and the open events to the next run.
        return self.append([_crashed(EventMessage.parse(text), at_ns) for text, at_ns in left_open])

    def _ordinal(self, run: str) -> int:
        row = self._db.execute("SELECT n FROM runs WHERE run = ?", (run,)).fetchone()
        if row is None:
            raise UnknownRunError("this journal knows no such run")
        return int(row[0])

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
        except sqlite3.Error as error:
            raise self._failed("written", error) from None

    def _failed(self, what: str, error: sqlite3.Error) -> JournalError:
        return JournalError(f"the journal {self.path} cannot be {what}: {error}")


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
