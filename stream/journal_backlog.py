"""Backlog: events that the disk would not take, kept in memory until it does, and the holes that remain.

Recognition must not end because a disk is full. Events then are published and replayed from here, in their order, and
written as soon as there is room. Two things can go wrong meanwhile, and neither is silent. The backlog is bounded:
beyond `HELD_EVENTS` the oldest are given up. And the process may end: what it held is then marked in a small file
that was made while there was room, so that the next run knows of it. Both become a `Hole`, which replay tells.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

HELD_EVENTS = 10_000
"""About 10 MB, and ten minutes of sixteen busy cameras."""

_MARK_BYTES = 128


class Row(NamedTuple):
    """As in the journal's table of events. n: of the run."""

    n: int
    seq: int
    written_ns: int
    camera: str
    topic: str
    message: str


@dataclass(frozen=True, slots=True)
class Hole:
    """Events of run number n, from seq first to last, that the journal does not have and never will."""

    n: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Events of a run that were published and not yet written."""

    run: str
    first: int
    last: int


class MarkFile:
    """One `Mark` or none, on disk. It is written in place: that needs no room. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(0o600)
        if path.stat().st_size < _MARK_BYTES:
            self.write(None)

    def read(self) -> Mark | None:
        found = re.match(rb"([0-9A-Z]{1,64}) (\d{1,18}) (\d{1,18}) *$", self._path.read_bytes()[:_MARK_BYTES])
        return Mark(found[1].decode(), int(found[2]), int(found[3])) if found else None

    def write(self, mark: Mark | None) -> None:
        text = "" if mark is None else f"{mark.run} {mark.first} {mark.last}"
        with self._path.open("r+b", buffering=0) as file:
            file.write(text.encode().ljust(_MARK_BYTES))


class Backlog:
    """Rows of one run in their order, oldest first. holes: of all runs, in the order of the journal."""

    def __init__(self, run: str, mark: MarkFile, holes: Iterable[Hole], limit: int = HELD_EVENTS) -> None:
        self.rows: deque[Row] = deque()
        self.holes = list(holes)
        self.lost = 0
        self._first = 0  # of what has been held since all was written
        self._run, self._mark, self._limit = run, mark, limit

    def hold(self, rows: Sequence[Row]) -> None:
        if not self.rows:
            self._first = rows[0].seq
        self.rows += rows
        while len(self.rows) > self._limit:
            oldest = self.rows.popleft()
            self.lost += 1
            if self.holes and (self.holes[-1].n, self.holes[-1].last) == (oldest.n, oldest.seq - 1):
                self.holes[-1] = replace(self.holes[-1], last=oldest.seq)
            else:
                self.holes.append(Hole(oldest.n, oldest.seq, oldest.seq))
        self._remember(Mark(self._run, self._first, self.rows[-1].seq))

    def written(self) -> None:
        """All rows and holes are in the journal."""
        self.rows.clear()
        self._remember(None)

    def _remember(self, mark: Mark | None) -> None:
        with contextlib.suppress(OSError):  # a disk that takes not even this
            self._mark.write(mark)
