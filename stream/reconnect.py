"""When to try a lost camera again.

Decorrelated jitter ("Exponential Backoff and Jitter", M. Brooker, AWS 2015): each wait is drawn between the
base and three times the wait before, up to a cap, so that cameras lost together do not come back together.
The class of the error sets base and cap: a cable that was pulled is worth half a second, a wrong password is
not worth a try a second, which would only lock the account.

A camera that connects and dies again at once has not recovered: only `HEALTHY_S` of frames make it start over
from the base. A budget over all cameras is a caller's matter: it may only lengthen a wait from here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stream.failure import ErrorClass

HEALTHY_S = 10.0


class Pace(NamedTuple):
    """The shortest and the longest wait between two tries, in seconds."""

    base_s: float
    cap_s: float


USUAL_PACE = Pace(base_s=0.5, cap_s=30.0)

PACES: dict[ErrorClass, Pace] = {
    ErrorClass.AUTH: Pace(base_s=60.0, cap_s=600.0),  # trying again locks accounts; someone has to change the password
    ErrorClass.TLS: Pace(base_s=30.0, cap_s=300.0),  # a certificate does not mend itself
    ErrorClass.CODEC: Pace(base_s=10.0, cap_s=120.0),  # until someone changes the camera's settings
    ErrorClass.NOT_FOUND: Pace(base_s=2.0, cap_s=60.0),  # a relay's path may appear any moment
}


class Backoff:
    """The waits between one camera's tries. Pure: the caller says what time it is and brings the chance.

    uniform: draws a float between its two arguments (`random.Random(seed).uniform`).
    """

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._pace: Pace | None = None
        self._wait_s = 0.0
        self._first_frame_s: float | None = None
        self._last_frame_s = 0.0

    def frame(self, now_s: float) -> None:
        """A frame came, at `now_s` of a monotonic clock."""
        if self._first_frame_s is None:
            self._first_frame_s = now_s
        self._last_frame_s = now_s

    @property
    def healthy(self) -> bool:
        """Frames have come for ten seconds since the last connection."""
        return self._first_frame_s is not None and self._last_frame_s - self._first_frame_s >= HEALTHY_S

    def failed(self, error: ErrorClass) -> float:
        """The connection broke, or did not come about: how many seconds to wait before the next try."""
        pace = PACES.get(error, USUAL_PACE)
        if self.healthy or pace != self._pace:
            self._wait_s = pace.base_s
        self._pace = pace
        self._first_frame_s = None
        self._wait_s = min(pace.cap_s, self._uniform(pace.base_s, 3 * self._wait_s))
        return self._wait_s
