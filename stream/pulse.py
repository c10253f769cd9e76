"""Pulse: whether a process that has fallen silent is stuck, or only kept from running by a machine that is busy.

A worker's main thread counts up twice a second in memory that the core can see. Silence alone proves little: where
there is too much to do a sound worker is silent too, and to replace it would only add to the load. So the kernel is
asked about that thread (Linux: schedstat and stat). One that was stopped, or sleeps in a call that does not return, is
not waiting for a processor; one that is starved does hardly anything else. (Measured on 2 processors, waiting in one
second: stopped or in a call 0.000 s; among six busy processes 0.003 s each time that it wakes.)

Time in which the core itself was late does not count: it had not looked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream.ring import SharedBlock

HEART_BYTES = 8

BEAT_S = 0.5
"""How often a worker says that it is alive."""
LOOK_S = 0.75
"""A worker that has been silent for so long is watched ..."""
WATCH_S = 1.25
"""... for so long, and is stuck if it did not wait for a processor meanwhile."""
STARVED_S = 15.0
"""One that did, or of which nothing is known, has this long."""
START_S = 60.0
"""How long the first word of a process may take, on a machine that is busy with other things ..."""
START_WATCH_S = 4.0
"""... and how long it may do nothing at all before it."""

_ATTENTIVE_S = 0.5  # between two looks; the core looks four times a second
_STARVED_SHARE = 0.1  # of the time, waiting for a processor
_SPINNING_SHARE = 0.5  # running
_WORKING_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Account:
    """Of a thread, so far: seconds it ran, and seconds it waited for a processor before it did. state: see proc(5)."""

    ran_s: float
    waited_s: float
    state: str


def account_of(pid: int) -> Account | None:
    """Of a process's main thread; None where the system does not say."""
    thread = Path(f"/proc/{pid}/task/{pid}")
    try:
        ran_ns, waited_ns, _ = (thread / "schedstat").read_text().split()
        state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return None
    return Account(int(ran_ns) / 1e9, int(waited_ns) / 1e9, state)


class Heart:
    """A counter in shared memory, `HEART_BYTES` long: a worker's main thread counts up, the core reads."""

    def __init__(self, memory: SharedBlock) -> None:
        self._count = np.frombuffer(memory.memory, np.int64, 1)

    def beat(self) -> None:
        self._count[0] += 1

    def beats(self) -> int:
        return int(self._count[0])


class Pulse:
    """One process's. The caller says what time it is by a monotonic clock.

    beats: how often it has said that it is alive. account: of the thread that says so.
    """

    def __init__(self, now_s: float, beats: Callable[[], int], account: Callable[[], Account | None]) -> None:
        self._beats, self._account = beats, account
        self._heard = 0
        self._checked_s = now_s
        self._silent_s = 0.0
        self._watched: tuple[float, Account | None] | None = None  # since when, and the account then

    @property
    def starting(self) -> bool:
        """It has not said anything yet."""
        return self._heard == 0

    def stuck(self, now_s: float) -> str:
        """Why the process is to be given up, or "". To be asked a few times a second."""
        beats = self._beats()
        if beats != self._heard:
            self._heard, self._silent_s, self._watched = beats, 0.0, None
        else:
            self._silent_s += min(now_s - self._checked_s, _ATTENTIVE_S)
        self._checked_s = now_s
        if self._silent_s < LOOK_S:
            return ""
        if self._watched is None:
            self._watched = (now_s, self._account())
            return ""
        since_s, before = self._watched
        if now_s - since_s < (START_WATCH_S if self.starting else WATCH_S):
            return ""
        now = self._account()
        patience_s = START_S if self.starting else STARVED_S
        if self._silent_s < patience_s and (before is None or now is None or self._kept(before, now, now_s - since_s)):
            self._watched = (now_s, now)
            return ""
        return f"it had been silent for {self._silent_s:.1f} s"

    def _kept(self, before: Account, now: Account, over_s: float) -> bool:
        """Whether it could not do more: it waited for a processor or the disk, or is starting and at work."""
        waited_s, ran_s = now.waited_s - before.waited_s, now.ran_s - before.ran_s
        if self.starting and ran_s >= _WORKING_SHARE * over_s:
            return True
        # A wait is in the account only when it is over; until then the thread is runnable and does not run.
        waits_now = now.state == "D" or (now.state == "R" and ran_s < _SPINNING_SHARE * over_s)
        return waits_now or waited_s >= _STARVED_SHARE * over_s
