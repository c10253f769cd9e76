"""Backoff: how long a lost camera waits."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left

import pytest

from stream.failure import ErrorClass
from stream.reconnect import (
    HEALTHY_S,
    PACES,
    USUAL_PACE,
    Backoff,
    ReconnectBudget,
    budget_shares,
    usual_budget,
)


def longest(low: float, high: float) -> float:
    return high


def shortest(low: float, high: float) -> float:
    return low


def test_waits_grow_threefold_at_most_up_to_the_cap() -> None:
    backoff = Backoff(longest)
    waits = [backoff.failed(ErrorClass.TIMEOUT) for _ in range(6)]
    assert waits == [1.5, 4.5, 13.5, 30.0, 30.0, 30.0]


def test_never_shorter_than_the_base() -> None:
    backoff = Backoff(shortest)
    assert [backoff.failed(ErrorClass.REFUSED) for _ in range(3)] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("seed", range(5))
def test_every_wait_lies_between_base_and_cap(seed: int) -> None:
    backoff = Backoff(random.Random(seed).uniform)
    for _ in range(100):
        assert USUAL_PACE.base_s <= backoff.failed(ErrorClass.EOF) <= USUAL_PACE.cap_s


def test_cameras_lost_together_do_not_come_back_together() -> None:
    """Third try of 200 cameras that all failed at time 0: no half second gets a quarter of them."""
    rng = random.Random(1)
    times = []
    for _ in range(200):
        backoff = Backoff(rng.uniform)
        times.append(sum(backoff.failed(ErrorClass.TIMEOUT) for _ in range(3)))
    busiest = max(sum(start <= t < start + 0.5 for t in times) for start in times)
    assert busiest < 50


def test_wrong_password_waits_for_minutes() -> None:
    assert Backoff(shortest).failed(ErrorClass.AUTH) >= 60


@pytest.mark.parametrize("error", list(ErrorClass))
def test_every_error_class_has_a_bounded_pace(error: ErrorClass) -> None:
    pace = PACES.get(error, USUAL_PACE)
    assert 0 < pace.base_s < pace.cap_s <= 600


def test_another_kind_of_error_starts_from_its_own_base() -> None:
    backoff = Backoff(longest)
    for _ in range(5):
        backoff.failed(ErrorClass.AUTH)
    assert backoff.failed(ErrorClass.TIMEOUT) == pytest.approx(3 * USUAL_PACE.base_s)


def test_frames_for_ten_seconds_start_it_over() -> None:
    backoff = Backoff(longest)
    for _ in range(4):
        backoff.failed(ErrorClass.TIMEOUT)
    backoff.frame(100.0)
    backoff.frame(100.0 + HEALTHY_S)
    assert backoff.healthy
    assert backoff.failed(ErrorClass.TIMEOUT) == 1.5


def test_a_camera_that_dies_again_at_once_keeps_waiting_longer() -> None:
    backoff = Backoff(longest)
    waits = []
    for connection in range(4):
        start_s = 100.0 * connection
        for frame in range(9):
            backoff.frame(start_s + frame)
        assert not backoff.healthy
        waits.append(backoff.failed(ErrorClass.EOF))
    assert waits == [1.5, 4.5, 13.5, 30.0]


def test_frames_of_different_connections_do_not_add_up() -> None:
    backoff = Backoff(longest)
    backoff.frame(0.0)
    backoff.frame(6.0)
    backoff.failed(ErrorClass.EOF)
    backoff.frame(20.0)
    backoff.frame(26.0)
    assert not backoff.healthy


def test_turns_are_spaced_evenly_and_first_come_first_served() -> None:
    budget = ReconnectBudget(4)
    assert [budget.turn(10.0) for _ in range(3)] == pytest.approx([0.0, 0.25, 0.5])
    assert budget.turn(10.1) == pytest.approx(0.65)
    assert budget.turn(20.0) == 0.0  # what was not used is not saved up


def test_shares_of_the_budget_never_add_up_to_more() -> None:
    assert budget_shares(50, [250, 250, 500]) == [12, 12, 24]
    assert budget_shares(10, [0, 5]) == [1, 9]
    for counts in ([3, 3, 3], [1] * 9 + [91], [0] * 10, [7]):
        assert sum(budget_shares(10, counts)) <= 10


def connects_after_a_cut(cameras: int, workers: int, back_s: float, seed: int) -> tuple[list[float], list[float]]:
    """Simulate: all cameras are started at 0 in a network that works from `back_s` on.

    Returns the times of all tries, and of each camera's success, which takes a second. A try that fails takes 0 to 5
    seconds, as a refusal or a timeout does.
    """
    rng = random.Random(seed)
    shares = budget_shares(usual_budget(cameras), [cameras // workers] * workers)
    budgets = [ReconnectBudget(share) for share in shares]
    backoffs = [Backoff(rng.uniform) for _ in range(cameras)]
    due = [(0.0, camera) for camera in range(cameras)]
    tries, successes = [], []
    while due:
        now_s, camera = heapq.heappop(due)
        at_s = now_s + budgets[camera % workers].turn(now_s)
        tries.append(at_s)
        if at_s >= back_s:
            successes.append(at_s + 1.0)
            continue
        failed_s = at_s + rng.choice([0.0, rng.uniform(0, 5), 5.0])
        heapq.heappush(due, (failed_s + backoffs[camera].failed(ErrorClass.TIMEOUT), camera))
    return sorted(tries), successes


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_cameras_are_back_within_a_minute_and_never_storm(seed: int) -> None:
    back_s = 300.0
    tries, successes = connects_after_a_cut(1000, 4, back_s, seed)
    assert len(successes) == 1000
    assert max(successes) <= back_s + 60
    most = max(bisect_left(tries, t + 1.0 - 1e-9) - i for i, t in enumerate(tries))
    assert most <= usual_budget(1000)


def test_cameras_do_not_come_back_in_lockstep() -> None:
    """Well into a cut, no tenth of a second has more tries than its share of a second's budget."""
    tries, _ = connects_after_a_cut(1000, 4, 300.0, 0)
    late = [t for t in tries if 200 <= t < 300]
    assert len(late) > 1000
    most = max(bisect_left(late, t + 0.1) - i for i, t in enumerate(late))
    assert most <= usual_budget(1000) // 10 + 4
