"""When to try a lost camera again.

Decorrelated jitter ("Exponential Backoff and Jitter", M. Brooker, AWS 2015): each wait is drawn between the
base and three times the wait before, up to a cap, so that cameras lost together do not come back together.
The class of the error sets base and cap: a cable that was pulled is worth half a second, a wrong password is
not worth a try a second, which would only lock the account.

A camera that connects and dies again at once has not recovered: only `HEALTHY_S` of frames make it start over
from the base.

Over all cameras there is a budget of connects a second. A camera asks for its turn when its own wait is over (or
when it is started), and turns are given evenly spaced, so that a network that comes back after a cut, or a program
that starts with a thousand cameras, meets no storm. Each capture worker has its share of the budget.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from stream.failure import ErrorClass

HEALTHY_S = 10.0

LEAST_BUDGET = 10  # connects a second, however few the cameras
BACK_WITHIN_S = 20  # all cameras can have had their turn in so long; with the longest usual wait, in under a minute


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


class ReconnectBudget:
    """At most so many connects in any second, evenly spaced, first come first served. Any thread may ask.

    Pure but for its lock: the caller says what time it is. connects_per_s: may be changed at any time.
    """

    def __init__(self, connects_per_s: int) -> None:
        self.connects_per_s = connects_per_s
        self._next_s = -float("inf")
        self._lock = threading.Lock()

    def turn(self, now_s: float) -> float:
        """Take the next turn: how many seconds from now it is."""
        with self._lock:
            turn_s = max(now_s, self._next_s)
            self._next_s = turn_s + 1 / self.connects_per_s
        return turn_s - now_s


def usual_budget(cameras: int) -> int:
    """Connects a second for so many cameras, where nothing else is configured."""
    return max(LEAST_BUDGET, -(-cameras // BACK_WITHIN_S))


def budget_shares(connects_per_s: int, cameras: Sequence[int]) -> list[int]:
    """A budget divided among workers by how many cameras each has. Each gets at least one connect a second, and all
    together no more than there are, if there are as many as workers."""
    total = max(1, sum(cameras))
    rest = max(0, connects_per_s - len(cameras))
    return [1 + rest * n // total for n in cameras]
