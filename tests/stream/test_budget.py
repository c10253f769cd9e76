"""Budget: measured load in, the interval of idle zones out."""

from __future__ import annotations

import pytest

from stream.budget import MAX_INTERVAL, PERIOD_NS, Budget


class Clock:
    """A budget to which a steady load falls due, period after period."""

    def __init__(self) -> None:
        self.budget: Budget[str] = Budget()
        self._now_ns = 0

    def interval(self, *, active: float, idle: float, periods: int = 1) -> int:
        """After so many periods. active, idle: shares of the engine's time that these zones' windows would take."""
        for _ in range(periods):
            for share, is_active in ((active, True), (idle, False)):
                for _ in range(round(100 * share)):
                    self.budget.due("m", self._now_ns, active=is_active)
            self.budget.computed("m", windows=4, busy_ns=4 * PERIOD_NS // 100)
            self._now_ns += PERIOD_NS
            self.budget.due("m", self._now_ns, active=False)
        return self.budget.interval


def test_nothing_is_known_at_first() -> None:
    budget: Budget[str] = Budget()
    assert budget.cost_ns("m") == 0
    for n in range(100):
        budget.due("m", n * PERIOD_NS, active=False)
    assert budget.interval == 1


@pytest.mark.parametrize(
    ("active", "idle", "interval"),
    [(0.3, 0.5, 1), (0.2, 1.2, 2), (0.4, 1.2, 3), (0.5, 1.4, 4), (0.0, 9.0, MAX_INTERVAL), (2.0, 0.1, MAX_INTERVAL)],
)
def test_the_interval_is_the_least_that_fits(active: float, idle: float, interval: int) -> None:
    assert Clock().interval(active=active, idle=idle) == interval


def test_a_load_about_the_limit_does_not_make_it_swing() -> None:
    clock = Clock()
    assert clock.interval(active=0.0, idle=0.95) == 2
    assert [clock.interval(active=0.0, idle=idle) for idle in (0.85, 0.95, 0.75, 0.85, 0.95)] == [2] * 5


def test_it_shrinks_a_step_at_a_time() -> None:
    clock = Clock()
    assert clock.interval(active=0.5, idle=1.4) == 4
    assert [clock.interval(active=0.1, idle=0.1) for _ in range(4)] == [3, 2, 1, 1]


def test_a_window_costs_what_batches_took_lately() -> None:
    budget: Budget[str] = Budget()
    budget.computed("m", windows=2, busy_ns=40)
    assert budget.cost_ns("m") == 20
    for _ in range(30):
        budget.computed("m", windows=4, busy_ns=40)
    assert budget.cost_ns("m") == pytest.approx(10, abs=0.1)
    budget.forget("m")
    assert budget.cost_ns("m") == 0
