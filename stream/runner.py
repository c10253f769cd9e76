"""Runner: one engine at work on batches, and the rules of the states that it holds.

A new epoch begins with zeros; a skipped window leaves the state as it is; after four in a row, or after a result that
is not finite (the engine's own work), it is zeroed. An idle window (`stream.gate`) also leaves it as it is and is not
counted as skipped: however long a zone was at rest, it goes on where it stopped.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engine.runtime.base import Engine, EngineInfo
from stream.frame import Window
from stream.messages import WindowReady
from stream.placement import place_inputs
from stream.result import EngineStats, Recognized, Result, Skipped
from stream.scheduler import Pending, SkipReason

FORGET_AFTER_SKIPS = 4


@dataclass(slots=True)
class Slot:
    """Where a stream's state is, and of which window it is the state after. number None: not opened yet.

    next_index: of the window that would follow, idle ones not counted.
    """

    engine: str
    lossless: bool
    number: int | None = None
    epoch: int = -1
    next_index: int = 0


class Runner:
    """Belongs to the thread that made the engine, as the engine does. window: fetches one, None if it is gone."""

    def __init__(self, engine: Engine, window: Callable[[WindowReady], Window | None]) -> None:
        self.engine = engine
        self.busy_ns = 0
        self.states = 0  # in use
        self.batch_sizes: Counter[int] = Counter()
        self._window = window
        self._infer, self._reason = place_inputs(engine)

    @property
    def info(self) -> EngineInfo:
        """The engine's, and why its inputs are not made where they should be."""
        info = self.engine.info
        return replace(info, reason="; ".join(filter(None, (info.reason, self._reason))))

    def stats(self, queued: int) -> EngineStats:
        """From any thread."""
        sizes = self.batch_sizes.copy()  # in one step, as the engine's thread counts on
        return EngineStats(
            info=self.info,
            batches=sum(sizes.values()),
            windows=sum(size * count for size, count in sizes.items()),
            busy_s=self.busy_ns / 1e9,
            batch_sizes=sizes,
            queued=queued,
            states=self.states,
        )

    def close(self) -> None:
        """Close the engine, and what makes its inputs before: both hold memory of the same device."""
        del self._infer
        self.engine.close()

    def free(self, slot: Slot) -> None:
        """Its stream is gone."""
        if slot.number is not None:
            self.engine.close_slot(slot.number)
            self.states -= 1

    def compute(self, batch: Sequence[Pending], slots: Sequence[Slot]) -> list[Result]:
        """One call of the network for windows of different streams."""
        started_ns = time.monotonic_ns()
        results: list[Result] = []
        windows: list[Window] = []
        computed: list[Pending] = []
        numbers: list[int] = []
        for pending, slot in zip(batch, slots, strict=True):
            window = self._window(pending.ready)
            if window is None:
                results.append(Skipped(pending.ready, SkipReason.OVERWRITTEN))
                continue
            computed.append(pending)
            windows.append(window)
            numbers.append(self._state_for(slot, window.epoch, window.index - pending.idle_before))
        if not windows:
            return results
        inference = self._infer(numbers, windows)
        busy_ns = time.monotonic_ns() - started_ns
        self.busy_ns += busy_ns
        self.batch_sizes[len(windows)] += 1
        return results + [
            Recognized(
                pending.ready,
                window,
                inference.logits[i],
                bool(inference.finite[i]),
                queue_ms=(started_ns - pending.offered_ns) / 1e6,
                infer_ms=busy_ns / 1e6,
                woken=pending.woken,
            )
            for i, (pending, window) in enumerate(zip(computed, windows, strict=True))
        ]

    def _state_for(self, slot: Slot, epoch: int, index: int) -> int:
        """The engine's slot, whose state is the one to go on from. index: idle windows not counted."""
        if slot.number is None:
            slot.number = self.engine.open_slot()
            self.states += 1
        elif epoch != slot.epoch or index - slot.next_index >= FORGET_AFTER_SKIPS:
            self.engine.reset_slot(slot.number)
        slot.epoch, slot.next_index = epoch, index + 1
        return slot.number
