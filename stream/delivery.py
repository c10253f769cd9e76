"""What a camera's frames say of it: does it deliver as many as its model needs, and does its time go on at all?

A camera slower than the model's rate still works (missing ticks repeat a picture) but is recognised
worse, so its status says `degraded`. The verdict has hysteresis: a camera at the limit does not flap.
A camera whose encoder hangs may repeat one frame for ever: frames come, but every one with the same time.
"""

from __future__ import annotations

from collections import deque

from stream.frame import NS_PER_S

SPAN_NS = 3 * NS_PER_S
DEGRADED_BELOW = 0.93  # of rate_hz
RESTORED_ABOVE = 0.97
FROZEN_BELOW = 0.25  # of the frames have a new time
_MOST_FRAMES = 4096  # are remembered, however slowly a camera's time goes


class DeliveryWatch:
    """Measures the delivered rate over the last 3 s of PTS. Pure: fed with times, asks no clock."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._recent: deque[int] = deque(maxlen=_MOST_FRAMES)
        self.degraded = False

    def frame(self, pts_ns: int) -> bool:
        """A frame has come; returns whether the camera is degraded. A jump in PTS starts the measurement anew."""
        recent = self._recent
        if recent and not recent[-1] < pts_ns < recent[-1] + SPAN_NS:
            if pts_ns == recent[-1]:
                return self.degraded
            recent.clear()
        full = False
        while recent and pts_ns - recent[0] >= SPAN_NS:
            recent.popleft()
            full = True
        recent.append(pts_ns)
        if full and len(recent) > 1:
            limit = RESTORED_ABOVE if self.degraded else DEGRADED_BELOW
            self.degraded = self.fps < limit * self._rate_hz
        return self.degraded

    @property
    def fps(self) -> float:
        """Frames per second of PTS, 0.0 until two frames have come."""
        if len(self._recent) < 2:
            return 0.0
        return (len(self._recent) - 1) * NS_PER_S / (self._recent[-1] - self._recent[0])


class FreezeWatch:
    """Looks every `timeout_s` whether a connection's time goes on. Pure: the caller says what time it is.

    Not every frame has to repeat a time: one that is new now and then does not make a camera of use.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_ns = round(timeout_s * NS_PER_S)
        self._since_ns: int | None = None
        self._frames = 0
        self._new = 0

    def frame(self, new_time: bool, now_ns: int) -> bool:
        """A frame has come at `now_ns` of a monotonic clock; returns whether the camera is frozen.

        new_time: whether it is neither late nor a duplicate (SampleCounts.advanced).
        """
        if self._since_ns is None:
            self._since_ns = now_ns
        self._frames += 1
        self._new += new_time
        if now_ns - self._since_ns < self._timeout_ns:
            return False
        frozen = self._new < FROZEN_BELOW * self._frames
        self._since_ns, self._frames, self._new = now_ns, 0, 0
        return frozen
