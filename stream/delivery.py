"""DeliveryWatch: does a camera deliver as many frames as its model needs?

A camera slower than the model's rate still works (missing ticks repeat a picture) but is recognised
worse, so its status says `degraded`. The verdict has hysteresis: a camera at the limit does not flap.
"""

from __future__ import annotations

from collections import deque

from stream.frame import NS_PER_S

SPAN_NS = 3 * NS_PER_S
DEGRADED_BELOW = 0.93  # of rate_hz
RESTORED_ABOVE = 0.97


class DeliveryWatch:
    """Measures the delivered rate over the last 3 s of PTS. Pure: fed with times, asks no clock."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._recent: deque[int] = deque()
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
