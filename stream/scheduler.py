"""Scheduler: which windows are computed next, in what batch, and which are not computed at all.

Designed from two numbers. A window of the default model costs 16 ms on one core and falls due once a second,
so one core keeps up with some sixty zones, and the queue is nearly always empty: earliest deadline first, and no
waiting for a batch to fill, gives every zone its result as early as it can be had. And a camera's ring holds four
windows: a window that has waited for two more is about to be overwritten, so it is better skipped in order, and
counted, than read torn. Files wait instead of losing anything (`lossless`), and are never skipped.

Pure: told the time, asks no clock. Windows of one stream leave in order, never two in one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from stream.frame import StreamKey
from stream.messages import WindowReady


class SkipReason(StrEnum):
    """Why a window was not computed."""

    BACKLOG = "backlog"  # newer windows of the same zone were waiting
    OVERWRITTEN = "overwritten"  # its pictures were gone from the ring


@dataclass(frozen=True, slots=True)
class Pending:
    """A window that waits. due_ns: monotonic, when its result is wanted; offered_ns: when it came."""

    ready: WindowReady
    due_ns: int
    offered_ns: int


M = TypeVar("M", bound=Hashable)


@dataclass(slots=True)
class _Queue(Generic[M]):
    model: M
    lossless: bool
    pending: deque[Pending]


class Scheduler(Generic[M]):
    """Earliest deadline first over all streams. M names a model: a batch never mixes models.

    backlog: windows of one live stream that may wait; an older one is skipped for a newer one.
    """

    def __init__(self, max_batch: int, backlog: int = 2) -> None:
        if max_batch < 1 or backlog < 1:
            raise ValueError(f"max_batch {max_batch} and backlog {backlog} must be at least 1")
        self._max_batch = max_batch
        self._backlog = backlog
        self._queues: dict[StreamKey, _Queue[M]] = {}

    def add(self, stream: StreamKey, model: M, *, lossless: bool) -> None:
        """A stream that will offer windows."""
        self._queues[stream] = _Queue(model, lossless, deque())

    def remove(self, stream: StreamKey) -> list[Pending]:
        """Forget a stream; returns its windows that were still waiting."""
        queue = self._queues.pop(stream, None)
        return list(queue.pending) if queue else []

    def offer(self, pending: Pending) -> list[Pending]:
        """A window is ready; returns those of its stream that are skipped for it, oldest first."""
        queue = self._queues[pending.ready.stream]
        queue.pending.append(pending)
        skipped = []
        while not queue.lossless and len(queue.pending) > self._backlog:
            skipped.append(queue.pending.popleft())
        return skipped

    def take(self) -> tuple[M, list[Pending]] | None:
        """The next batch, most urgent first: windows of one model, of different streams. None: nothing waits."""
        heads = sorted((q.pending[0].due_ns, stream) for stream, q in self._queues.items() if q.pending)
        if not heads:
            return None
        model = self._queues[heads[0][1]].model
        chosen = [stream for _, stream in heads if self._queues[stream].model == model][: self._max_batch]
        return model, [self._queues[stream].pending.popleft() for stream in chosen]
