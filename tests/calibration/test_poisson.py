from __future__ import annotations

import numpy as np
import pytest

from calibration.poisson import Budget, BudgetError, dispersion, upper_bound


@pytest.mark.parametrize(("events", "expected"), [(0, 2.996), (1, 4.744), (5, 10.513), (20, 29.062)])
def test_bounds_are_the_exact_ones_of_the_tables(events, expected):
    assert upper_bound(events, 1.0) == pytest.approx(expected, abs=1e-3)
    assert upper_bound(events, 8.0) == pytest.approx(expected / 8, abs=1e-3)


def test_the_bound_holds_in_95_of_100_cases():
    counts = np.random.default_rng(0).poisson(6.0, 4000)
    bounds = np.array([upper_bound(count, 1.0) for count in range(30)])
    covered = np.mean(bounds[counts] >= 6.0)
    assert 0.94 < covered < 0.99  # exact for a discrete count: not under 95 %, and somewhat over


def test_dispersion_is_that_of_a_known_distribution():
    rng = np.random.default_rng(0)
    assert dispersion(rng.poisson(2.0, 20_000).tolist()) == pytest.approx(1.0, abs=0.03)
    assert dispersion((3 * rng.poisson(2.0, 20_000)).tolist()) == pytest.approx(3.0, abs=0.1)
    assert dispersion([0, 0, 0]) == dispersion([5]) == dispersion([2, 2, 2]) == 1.0


def test_the_bound_holds_for_bursts_whose_size_is_only_estimated():
    """Three events at a time, on 20 pieces of footage to see that by, and 40 others to count on."""
    rng = np.random.default_rng(0)
    held, naive = [], []
    for _ in range(2000):
        setting, checking = (3 * rng.poisson(0.5, n) for n in (20, 40))
        held.append(upper_bound(int(checking.sum()), 40.0, dispersion(setting.tolist())) >= 1.5)
        naive.append(upper_bound(int(checking.sum()), 40.0) >= 1.5)
    assert np.mean(held) > 0.93
    assert np.mean(naive) < 0.88


def test_a_budget_is_read_in_any_unit_and_says_what_it_takes():
    assert Budget.parse("0.5/day").hours_needed == pytest.approx(143.8, abs=0.1)
    assert Budget.parse("2/hour").per_hour == 2
    assert Budget.parse(" 7/week ").per_hour == pytest.approx(1 / 24)


@pytest.mark.parametrize("text", ["0/day", "0.5", "0.5/year", "one/day", "-1/day", "1..2/day"])
def test_what_is_no_budget_is_told(text):
    with pytest.raises(BudgetError, match=r"such as 0\.5/day"):
        Budget.parse(text)
