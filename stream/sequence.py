"""Sequence: what a client has seen of the journal, and so whether an event is the next, seen before, or too far on.

One cursor is enough: everything up to it has been seen (or was not asked for). Following all cameras, an event's
predecessor is the one with the seq before; following one camera, it is the `prev` that the event names. Pure: the
sockets are `stream.subscribe`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from stream.wire import EventMessage, HeartbeatMessage, Position


class Verdict(Enum):
    NEXT = "next"
    SEEN = "seen"
    AHEAD = "ahead"  # events before it may be missing: ask the journal


@dataclass(frozen=True, slots=True)
class Gap:
    """Events between two positions that can no longer be had. after: None if nothing was seen before."""

    after: Position | None
    before: Position
    reason: str

    def __str__(self) -> str:
        return f"events after {self.after or 'the beginning'} and before {self.before} may be missing: {self.reason}"


class Sequence:
    """The place of one client in the journal's order. camera: the only one followed, or None for all.

    cursor: the last position known; None: nothing is known, and the first event is as good as any.
    """

    def __init__(self, camera: str | None, cursor: Position | None = None) -> None:
        self._camera = camera
        self._past: dict[str, None] = {}  # runs that are over, oldest first
        self.cursor = cursor

    def judge(self, event: EventMessage) -> Verdict:
        """What a live event is."""
        if self.cursor is None:
            return Verdict.NEXT
        if self.covers(event.position):
            return Verdict.SEEN
        before = self._predecessor(event)
        return Verdict.NEXT if before is None or self._reached(before, event.run) else Verdict.AHEAD

    def behind(self, beat: HeartbeatMessage) -> bool:
        """Whether a heartbeat tells of events that did not come."""
        newest = Position(run=beat.run, seq=beat.seq) if self._camera is None else beat.last.get(self._camera)
        return self.cursor is not None and newest is not None and not self._reached(newest, beat.run)

    def covers(self, position: Position) -> bool:
        """Whether the position is at or before the cursor, as far as this client can know."""
        if self.cursor is None or position.run in self._past:
            return position.run in self._past
        return position.run == self.cursor.run and position.seq <= self.cursor.seq

    def move(self, position: Position) -> None:
        """Everything up to `position` has been seen."""
        if self.cursor and self.cursor.run != position.run:
            self._past[self.cursor.run] = None
            if len(self._past) > 1000:  # of a publisher that restarts once a minute, the last 17 hours
                del self._past[next(iter(self._past))]
        self.cursor = position

    def deleted_until(self, pruned_before: Position | None, first: EventMessage | None) -> Position | None:
        """Up to where the journal has deleted events that this client has not seen; None: it has not.

        pruned_before: the oldest event that the journal keeps. first: the first that it gave after the cursor.
        """
        if self.cursor is None or pruned_before is None or not self._is_after(pruned_before):
            return None
        if pruned_before == Position(run=self.cursor.run, seq=self.cursor.seq + 1):
            return None
        if self._camera and first and not (first.prev and self._is_after(first.prev)):
            return None  # others' events are gone, this camera's are not
        return pruned_before

    def missing_before(self, event: EventMessage) -> bool:
        """Whether the journal does not have what comes before an event that it gave as the next one."""
        before = self._predecessor(event)
        if self.cursor is None or before is None or (self._camera is None and before.seq == 0):
            return False
        return self._is_after(before)

    def _reached(self, position: Position, told_in: str) -> bool:
        """As `covers`, for a camera's last event. told_in: run of the message that names it: it is of this or before.

        A client that began in this run knows nothing of the runs before, and has no need to.
        """
        if self.cursor is not None and self.cursor.run == told_in != position.run:
            return True
        return self.covers(position)

    def _predecessor(self, event: EventMessage) -> Position | None:
        return event.prev if self._camera is not None else Position(run=event.run, seq=event.seq - 1)

    def _is_after(self, position: Position) -> bool:
        # Runs are ULIDs that our journal makes ascending. With any other publisher this is a guess, which can
        # only make a gap be told or not be told where the journal gave everything it has.
        if self.cursor is None or self.covers(position):
            return False
        return (position.run, position.seq) > (self.cursor.run, self.cursor.seq)
