"""Idle gating: a zone in which nothing moves costs its decoding and little else.

A MotionMeter looks at every tick in the capture worker: the luma that the network sees, averaged over cells of 4x4 of
its pixels (noise is), against the first tick of the window before. Slow movement adds up over two windows so, and of
what comes and goes in between at least half is seen. Light that changes and strong noise are movement: they only
cost. On real footage some cell changes by 10 grey levels or more in 416 of 419 windows with an action, and by 1 to 3
where nobody is (`python -m benchmarks.idle_gating`). One look takes 7 us; a window of the network 16 ms.

An IdleGate decides, in the core, window by window. Files are not measured, so all their windows are computed.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from stream.frame import PlaneArray
from stream.messages import WindowReady

CELL = 4
"""Pixels of the network's picture, each way, that are averaged."""
STILL_BELOW = 4.0
"""Grey levels. Chosen on two Weizmann subjects and one stream, see benchmarks.idle_gating."""


class MotionMeter:
    """The largest change of any cell of a window, tick by tick, in grey levels.

    height, width: of the network's picture, whose luma is uint8 [height, width]. Times out of order and repeated
    ticks are nothing special. One thread uses it.
    """

    def __init__(self, height: int, width: int) -> None:
        shape = (max(1, height // CELL), max(1, width // CELL))
        self._size = shape[::-1]
        self._cells, self._first, self._reference = (np.empty(shape, np.uint8) for _ in range(3))
        self._begun = False
        self._motion = 0.0

    def reset(self) -> None:
        """A new epoch: its first window is compared with its own first tick."""
        self._begun = False

    def tick(self, luma: PlaneArray, nth: int) -> float:
        """The window's motion up to this tick, its nth (0 is the first)."""
        cv2.resize(luma, self._size, dst=self._cells, interpolation=cv2.INTER_AREA)
        if nth == 0:
            self._motion = 0.0
            self._reference, self._first = self._first, self._reference
            np.copyto(self._first, self._cells)
            if not self._begun:
                np.copyto(self._reference, self._cells)
                self._begun = True
        self._motion = max(self._motion, cv2.norm(self._cells, self._reference, cv2.NORM_INF))
        return self._motion


class Passed(NamedTuple):
    """compute: windows to be computed, in this order. idle: windows that finally are not."""

    compute: tuple[WindowReady, ...]
    idle: tuple[WindowReady, ...]


class IdleGate:
    """Holds back the still windows of one stream: at rest, the network's state stays as it is.

    A window is held back where it and the one before are still and the zone may rest. When the next one moves, the
    one held is computed first: what begins slowly begins in it. When the next one is still too, it is idle for good.
    Pure; motion that was not measured is infinite, and never still.
    """

    def __init__(self, still_below: float = STILL_BELOW, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.idle = 0  # windows of this epoch that were not computed, the held one apart
        self._still_below = still_below
        self._last: WindowReady | None = None
        self._held: WindowReady | None = None

    @property
    def resting(self) -> bool:
        """The newest window is held back."""
        return self._held is not None

    def offer(self, ready: WindowReady, may_rest: bool) -> Passed:
        """The stream's next window. may_rest: it has no event open or beginning, and no window on its way."""
        last, held = self._last, self.end()
        self._last = ready
        if last is None or (last.block, last.epoch, last.index + 1) != (ready.block, ready.epoch, ready.index):
            if last is None or last.epoch != ready.epoch:
                self.idle = 0
            return Passed((ready,), held)
        if self.enabled and may_rest and max(last.motion, ready.motion) < self._still_below:
            self._held = ready
            return Passed((), held)
        self.idle -= len(held)
        return Passed((*held, ready), ())

    def end(self) -> tuple[WindowReady, ...]:
        """The epoch is over: the window held back will not be computed."""
        held = () if self._held is None else (self._held,)
        self._held = None
        self.idle += len(held)
        return held
