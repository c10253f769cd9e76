"""Budget: how much slower idle zones must go so that everything that falls due can be computed.

Found from what was measured, not from the machine: what a window costs (time that the engine was busy, by the
windows that it computed) times the windows that fell due. Pure: told the time, asks no clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from stream.frame import NS_PER_S

MAX_INTERVAL = 4
"""An idle zone skips three windows in a row at most: at four its state would be zeroed."""
PERIOD_NS = 2 * NS_PER_S
HIGH, LOW = 0.9, 0.7
"""Shares of the engine's time. Above the one, the interval grows; it shrinks where less than the other would do. At
0.9 a window of 16 ms waits some 70 ms for others (M/D/1)."""
_SMOOTHING = 0.3  # of a window's cost, per batch: single batches are held up by whatever else the machine does

M = TypeVar("M", bound=Hashable)


@dataclass(slots=True)
class _Counted:
    """Of one model. cost_ns: of a window; None until one was computed. active, idle: windows due this period."""

    cost_ns: float | None = None
    active: int = 0
    idle: int = 0


class Budget(Generic[M]):
    """Every how many windows an idle zone is computed: `interval`, from 1 (each) to MAX_INTERVAL. M names a model."""

    def __init__(self) -> None:
        self.interval = 1
        self._counted: dict[M, _Counted] = {}
        self._ends_ns: int | None = None  # this period

    def cost_ns(self, model: M) -> float:
        """Of one window, as far as known."""
        counted = self._counted.get(model)
        return 0.0 if counted is None or counted.cost_ns is None else counted.cost_ns

    def computed(self, model: M, windows: int, busy_ns: int) -> None:
        """A batch was computed."""
        counted = self._counted.setdefault(model, _Counted())
        cost_ns = busy_ns / windows
        counted.cost_ns = (
            cost_ns if counted.cost_ns is None else counted.cost_ns + _SMOOTHING * (cost_ns - counted.cost_ns)
        )

    def due(self, model: M, now_ns: int, *, active: bool) -> None:
        """A window of a live camera fell due, whatever becomes of it. active: its zone has an event."""
        if self._ends_ns is None:
            self._ends_ns = now_ns + PERIOD_NS
        elif now_ns >= self._ends_ns:
            self._decide(PERIOD_NS + now_ns - self._ends_ns)
            self._ends_ns = now_ns + PERIOD_NS
        counted = self._counted.setdefault(model, _Counted())
        counted.active += active
        counted.idle += not active

    def forget(self, model: M) -> None:
        self._counted.pop(model, None)

    def _decide(self, elapsed_ns: int) -> None:
        active = sum((c.cost_ns or 0) * c.active for c in self._counted.values()) / elapsed_ns
        idle = sum((c.cost_ns or 0) * c.idle for c in self._counted.values()) / elapsed_ns
        for counted in self._counted.values():
            counted.active = counted.idle = 0
        if active + idle / self.interval > HIGH:
            fitting = (n for n in range(self.interval, MAX_INTERVAL) if active + idle / n <= HIGH)
            self.interval = next(fitting, MAX_INTERVAL)
        elif self.interval > 1 and active + idle / (self.interval - 1) < LOW:
            self.interval -= 1
