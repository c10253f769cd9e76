from __future__ import annotations

import pytest

from stream.delivery import DeliveryWatch, FreezeWatch
from stream.frame import NS_PER_S


def watch(watch: DeliveryWatch, fps: float, seconds: float, start_ns: int = 0) -> list[bool]:
    return [watch.frame(start_ns + round(n * NS_PER_S / fps)) for n in range(int(seconds * fps))]


@pytest.mark.parametrize("fps", [12, 15, 29.97, 60])
def test_a_camera_at_or_above_the_rate_is_not_degraded(fps: float) -> None:
    camera = DeliveryWatch(12)
    assert not any(watch(camera, fps, 10))
    assert camera.fps == pytest.approx(fps, rel=0.01)


@pytest.mark.parametrize("fps", [1, 5, 10, 11])
def test_a_slower_camera_is_degraded_after_three_seconds(fps: float) -> None:
    camera = DeliveryWatch(12)
    verdicts = watch(camera, fps, 6)
    assert not any(verdicts[: int(2.9 * fps)])
    assert all(verdicts[int(4.1 * fps) :])


def test_a_camera_that_recovers_is_no_longer_degraded() -> None:
    camera = DeliveryWatch(12)
    assert watch(camera, 5, 6)[-1]
    assert not watch(camera, 15, 6, start_ns=6 * NS_PER_S)[-1]


def test_a_camera_whose_time_hardly_goes_on_is_not_remembered_for_ever() -> None:
    camera = DeliveryWatch(12)
    watch(camera, 1e6, 0.02)
    assert len(camera._recent) < 5000


def test_a_camera_at_the_limit_does_not_flap() -> None:
    camera = DeliveryWatch(12)
    watch(camera, 5, 6)
    assert all(watch(camera, 11.4, 20, start_ns=6 * NS_PER_S)[40:])
    fresh = DeliveryWatch(12)
    assert not any(watch(fresh, 11.4, 20))


def test_a_jump_of_the_clock_starts_the_measurement_anew() -> None:
    camera = DeliveryWatch(12)
    watch(camera, 15, 6)
    assert not watch(camera, 15, 6, start_ns=1000 * NS_PER_S)[-1]
    assert not watch(camera, 15, 6)[-1], "backwards"
    assert not any(camera.frame(6 * NS_PER_S) for _ in range(100)), "duplicates count for nothing"


def frozen_at_s(new: list[bool], fps: int) -> float | None:
    """When a watch with a timeout of 2 s first says so."""
    freeze = FreezeWatch(timeout_s=2)
    verdicts = [freeze.frame(new_time, 5000 * NS_PER_S + n * NS_PER_S // fps) for n, new_time in enumerate(new)]
    return verdicts.index(True) / fps if True in verdicts else None


def test_a_camera_whose_time_stands_still_is_frozen() -> None:
    assert frozen_at_s([False] * 60, fps=20) == 2
    assert frozen_at_s([True] * 60 + [False] * 100, fps=20) == pytest.approx(6, abs=0.2), "within two timeouts"


def test_a_new_time_now_and_then_does_not_hide_it() -> None:
    assert frozen_at_s([n % 10 == 0 for n in range(60)], fps=20) == 2


def test_a_slow_or_stammering_camera_is_not_frozen() -> None:
    assert frozen_at_s([True] * 30, fps=1) is None
    assert frozen_at_s([n % 3 != 0 for n in range(600)], fps=20) is None
    assert frozen_at_s(([False] * 20 + [True] * 20) * 10, fps=20) is None
