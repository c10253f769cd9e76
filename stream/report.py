"""Reporter: words one zone's changes as event messages, in UTC.

The offset from stream time to UTC, and which clock it is, are fixed when an event opens: a camera's clock
that is set while an event is open must not change the event's length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stream.events import Change, Phase
from stream.frame import ClockSource, StreamKey
from stream.wire import EventDraft, Latency, ModelRef, PtsSpan, iso_utc


@dataclass(frozen=True, slots=True)
class Clock:
    """How a window's stream time relates to UTC: `Window.utc_offset_ns` and `Window.clock`."""

    utc_offset_ns: int
    source: ClockSource


class Reporter:
    """Words the changes of one recognition stream. model: whose scores they are."""

    def __init__(self, stream: StreamKey, model: ModelRef) -> None:
        self.stream = stream
        self.model = model
        self._clocks: dict[str, Clock] = {}  # of open events, by id

    def drafts(
        self,
        changes: Iterable[Change],
        clock: Clock | None = None,
        *,
        latency: Latency | None = None,
        arrival_ns: int | None = None,
    ) -> list[EventDraft]:
        """clock: of the window that the changes come from; a start needs it.

        latency: what that window waited and took; arrival_ns: when its last frame arrived (monotonic).
        """
        return [self._draft(change, clock, latency or Latency(), arrival_ns) for change in changes]

    def _draft(self, change: Change, clock: Clock | None, latency: Latency, arrival_ns: int | None) -> EventDraft:
        if change.phase is Phase.START:
            if clock is None:
                raise ValueError("an event cannot start without a clock")
            self._clocks[change.id] = clock
        opened = self._clocks.pop(change.id) if change.phase is Phase.END else self._clocks[change.id]
        return EventDraft(
            id=change.id,
            phase=change.phase,
            camera=self.stream.camera,
            zone=self.stream.zone,
            label=change.label,
            score=round(change.score, 4),
            peak=round(change.peak, 4),
            start=iso_utc(change.start_ns + opened.utc_offset_ns),
            end=None if change.end_ns is None else iso_utc(change.end_ns + opened.utc_offset_ns),
            clock=opened.source.value,
            pts=PtsSpan(start_ns=change.start_ns, end_ns=change.end_ns),
            model=self.model,
            latency_ms=latency,
            reason=change.reason,
            at_ns=change.at_ns,
            arrival_ns=arrival_ns,
        )
