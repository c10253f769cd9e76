"""Backoff: how long a lost camera waits."""

from __future__ import annotations

import random

import pytest

from stream.failure import ErrorClass
from stream.reconnect import HEALTHY_S, PACES, USUAL_PACE, Backoff


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
