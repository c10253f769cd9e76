"""Scheduler: which windows are computed next, in what batch, and which are not computed at all.

Designed from two numbers. A window of the default model costs 16 ms on one core and falls due once a second, so one
core keeps up with some sixty zones, and the queue is nearly always empty: earliest deadline first, and batches that
leave at once, give every zone its result as early as it can be had. (A GPU's batch may linger for a few milliseconds,
where it costs little more than one window.) And a camera's ring holds four windows: a window that has waited for two
more is about to be overwritten, so it is better skipped in order, and counted, than read torn.

Where more falls due than can be computed (`stream.budget`), zones without an event are computed every second, third
or fourth window only, in turn; a zone with an event open or beginning keeps its full rate. Where that does not do,
windows are late, and those that are go in the order in which their streams were served last: by deadline alone, who
has the better phase would always be first. A camera whose time runs faster than ours (a broken clock, a flood) gets
no more of the engine than others. Files wait instead of losing anything (`lossless`), and are never skipped.

Pure: told the time, asks no clock. Windows of one stream leave in order, never two in one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from stream.budget import Budget
from stream.frame import StreamKey
from stream.messages import WindowReady


class SkipReason(StrEnum):
    """Why a window was not computed."""

    BACKLOG = "backlog"  # newer windows of the same zone were waiting
    FLOOD = "flood"  # the zone's windows come faster than time goes
    OVERWRITTEN = "overwritten"  # its pictures were gone from the ring
    STRETCHED = "stretched"  # more fell due than could be computed, and this zone had no event
    IDLE = "idle"  # nothing moved, and there was no event (see `stream.gate`)


@dataclass(frozen=True, slots=True)
class Pending:
    """A window that waits. due_ns: monotonic, when its result is wanted; offered_ns: when it came.

    active: its zone has an event open or beginning. idle_before: windows of its epoch before it that were idle, and so
    do not count as skipped. woken: it had been held back as still.
    """

    ready: WindowReady
    due_ns: int
    offered_ns: int
    active: bool = True
    idle_before: int = 0
    woken: bool = False


BURST = 8
"""Windows that may come at once, as after a stall of the network."""

M = TypeVar("M", bound=Hashable)


class Batch(NamedTuple, Generic[M]):
    """Windows of one model, of different streams, most urgent first."""

    model: M
    windows: list[Pending]


class Skip(NamedTuple):
    window: Pending
    reason: SkipReason


class BatchRule(NamedTuple):
    """max_windows in one batch; linger_ns: how long one that is not full waits for more."""

    max_windows: int
    linger_ns: int = 0


@dataclass(slots=True)
class _Queue(Generic[M]):
    """waited: windows that fell due since the last one that was let in, or more, to be let in sooner. paced_ns: when
    the next window would come of a stream that is in time, a little early."""

    model: M
    lossless: bool
    pending: deque[Pending] = field(default_factory=deque)
    waited: int = 0
    served_ns: int = -(2**62)
    paced_ns: int = 0

    def floods(self, window: Pending) -> bool:
        """Whether the stream is more than BURST windows ahead of the clock; if not, the window is counted in."""
        period_ns = window.due_ns - window.offered_ns
        if self.paced_ns > window.offered_ns + BURST * period_ns:
            return True
        self.paced_ns = max(self.paced_ns, window.offered_ns) + period_ns * 3 // 4
        return False

    def urgency(self, now_ns: int) -> tuple[bool, int]:
        """Sorts the most urgent first."""
        due_ns = self.pending[0].due_ns
        return (False, self.served_ns) if due_ns <= now_ns else (True, due_ns)


class Scheduler(Generic[M]):
    """Earliest deadline first over all streams. M names a model: a batch never mixes models.

    backlog: windows of one live stream that may wait; an older one is skipped for a newer one.
    """

    def __init__(self, backlog: int = 2) -> None:
        if backlog < 1:
            raise ValueError(f"backlog {backlog} must be at least 1")
        self._backlog = backlog
        self._rules: dict[M, BatchRule] = {}
        self._queues: dict[StreamKey, _Queue[M]] = {}
        self._waiting: dict[StreamKey, _Queue[M]] = {}  # those in which a window waits
        self._budget: Budget[M] = Budget()

    @property
    def interval(self) -> int:
        """Every how many windows an idle zone is computed now."""
        return self._budget.interval

    def add_model(self, model: M, rule: BatchRule) -> None:
        if rule.max_windows < 1:
            raise ValueError(f"a batch of {rule.max_windows} windows")
        self._rules[model] = rule

    def remove_model(self, model: M) -> None:
        """No stream has it any more."""
        del self._rules[model]
        self._budget.forget(model)

    def add(self, stream: StreamKey, model: M, *, lossless: bool) -> None:
        """A stream that will offer windows."""
        self._queues[stream] = _Queue(model, lossless)

    def remove(self, stream: StreamKey) -> list[Pending]:
        """Forget a stream; returns its windows that were still waiting."""
        queue = self._queues.pop(stream, None)
        self._waiting.pop(stream, None)
        return list(queue.pending) if queue else []

    def queued(self, model: M) -> int:
        """Windows that wait for this model."""
        return sum(len(queue.pending) for queue in self._waiting.values() if queue.model == model)

    def offer(self, window: Pending) -> list[Skip]:
        """A window is ready; returns what is skipped: this one, older ones, or, as load was found too high, others."""
        stream = window.ready.stream
        queue = self._queues[stream]
        skipped: list[Skip] = []
        if not queue.lossless:
            if queue.floods(window):
                return [Skip(window, SkipReason.FLOOD)]
            before = self._budget.interval
            self._budget.due(queue.model, window.offered_ns, active=window.active)
            if self._budget.interval > before:
                skipped += self._take_turns()
            if not window.active and queue.waited < self._budget.interval - 1:
                queue.waited += 1
                return [*skipped, Skip(window, SkipReason.STRETCHED)]
            queue.waited = 0
        queue.pending.append(window)
        self._waiting[stream] = queue
        while not queue.lossless and len(queue.pending) > self._backlog:
            skipped.append(Skip(queue.pending.popleft(), SkipReason.BACKLOG))
        return skipped

    def take(self, now_ns: int) -> Batch[M] | int | None:
        """The next batch that leaves; or the time until which to wait for it, if nothing comes; None: nothing waits."""
        heads = sorted((queue.urgency(now_ns), stream, queue) for stream, queue in self._waiting.items())
        waits_ns = []
        for model in dict.fromkeys(queue.model for _, _, queue in heads):  # the most urgent first
            chosen = [(stream, queue) for _, stream, queue in heads if queue.model == model]
            chosen = chosen[: self._rules[model].max_windows]
            leaves_ns = self._leaves_ns(model, [queue for _, queue in chosen])
            if leaves_ns <= now_ns:
                return Batch(model, [self._next(stream, queue, now_ns) for stream, queue in chosen])
            waits_ns.append(leaves_ns)
        return min(waits_ns, default=None)

    def computed(self, model: M, windows: int, busy_ns: int) -> None:
        """A batch was computed, and took so long."""
        self._budget.computed(model, windows, busy_ns)

    def _leaves_ns(self, model: M, queues: list[_Queue[M]]) -> int:
        """When a batch of these leaves: at once if full, else when it has lingered, or its oldest deadline asks."""
        rule = self._rules[model]
        if len(queues) == rule.max_windows:
            return 0
        heads = [queue.pending[0] for queue in queues]
        lingered_ns = min(head.offered_ns for head in heads) + rule.linger_ns
        return min(lingered_ns, min(head.due_ns for head in heads) - round(self._budget.cost_ns(model) * len(heads)))

    def _next(self, stream: StreamKey, queue: _Queue[M], now_ns: int) -> Pending:
        queue.served_ns = now_ns
        window = queue.pending.popleft()
        if not queue.pending:
            del self._waiting[stream]
        return window

    def _take_turns(self) -> list[Skip]:
        """So that zones which are to be skipped more often are not all skipped, and then all computed, at a time.

        Also of what waits, idle zones keep one window only; returns the others.
        """
        skipped = []
        for nth, queue in enumerate(self._queues.values()):
            queue.waited = max(queue.waited, nth % self._budget.interval)
            while not queue.lossless and len(queue.pending) > 1 and not queue.pending[0].active:
                skipped.append(Skip(queue.pending.popleft(), SkipReason.STRETCHED))
        return skipped
