"""Idle gating: what is motion, and which windows are held back."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.frame import PlaneArray, StreamKey
from stream.gate import STILL_BELOW, IdleGate, MotionMeter
from stream.messages import WindowReady

HEIGHT, WIDTH, TICKS = 64, 96, 12
CAM = StreamKey("cam", "full")
RNG = np.random.default_rng(0)


def motions(windows: list[list[PlaneArray]]) -> list[float]:
    meter = MotionMeter(HEIGHT, WIDTH)
    return [[meter.tick(luma, nth) for nth, luma in enumerate(window)][-1] for window in windows]


def scene(*people: tuple[float, float]) -> PlaneArray:
    """Tiny far people, 2x5 pixels of the network's picture, at (x, y), before a wall."""
    big = np.full((HEIGHT * 8, WIDTH * 8), 90, np.uint8)
    for x, y in people:
        left, top = round(x * 8), round(y * 8)
        cv2.rectangle(big, (left, top), (left + 15, top + 39), 150, cv2.FILLED)
    return cv2.resize(big, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def moving(speed: float, windows: int) -> list[list[PlaneArray]]:
    """Someone walks so many pixels a tick."""
    return [[scene((20 + speed * (w * TICKS + t), 30)) for t in range(TICKS)] for w in range(windows)]


def test_a_still_picture_has_no_motion() -> None:
    assert motions([[scene((20, 30))] * TICKS] * 3) == [0, 0, 0]


@pytest.mark.parametrize("speed", [0.2, 0.5, 1, 3])
def test_someone_far_away_who_walks_moves(speed: float) -> None:
    """A fifth of a pixel a tick is a slow walk for who is five pixels tall. The first window is at a disadvantage."""
    assert min(motions(moving(speed, windows=2 if speed == 3 else 6))[1:]) > STILL_BELOW


def test_what_comes_and_goes_within_a_window_is_seen() -> None:
    still = [scene()] * TICKS
    blink = [scene()] * 5 + [scene((20, 30))] + [scene()] * 6
    assert motions([still, blink, still])[1] > STILL_BELOW


def test_noise_of_a_camera_is_no_motion() -> None:
    """Ten grey levels in the camera's 640x360: 1.5 in the network's pixels."""
    picture = scene((20, 30)).astype(np.float64)
    noisy = [
        [np.clip(np.rint(picture + RNG.normal(0, 1.5, picture.shape)), 0, 255).astype(np.uint8) for _ in range(TICKS)]
        for _ in range(10)
    ]
    assert max(motions(noisy)) < STILL_BELOW


def test_an_epoch_is_not_compared_with_the_one_before() -> None:
    meter = MotionMeter(HEIGHT, WIDTH)
    for nth in range(7):
        meter.tick(scene((20, 30)), nth)
    meter.reset()
    assert [meter.tick(scene((60, 30)), nth) for nth in range(TICKS)] == [0] * TICKS
    assert meter.tick(scene((20, 30)), 0) > STILL_BELOW


def test_pictures_smaller_than_a_cell() -> None:
    meter = MotionMeter(2, 2)
    assert [meter.tick(np.full((2, 2), value, np.uint8), nth) for nth, value in enumerate((5, 9))] == [0, 4]


# ---- the gate


def ready(index: int, motion: float = 0.0, epoch: int = 0) -> WindowReady:
    return WindowReady(CAM, epoch, index, 0, index * TICKS, motion)


def passed(gate: IdleGate, *motions: float, may_rest: bool = True) -> list[tuple[list[int], list[int]]]:
    """Of windows with these motions: which are computed and which are idle, at each."""
    told = [gate.offer(ready(index, motion), may_rest) for index, motion in enumerate(motions)]
    return [([w.index for w in step.compute], [w.index for w in step.idle]) for step in told]


def test_the_second_still_window_is_held_back_and_idle_when_the_third_is_still() -> None:
    gate = IdleGate()
    assert passed(gate, 9, 1, 1, 1, 1) == [([0], []), ([1], []), ([], []), ([], [2]), ([], [3])]
    assert gate.idle == 2
    assert gate.end() == (ready(4),)
    assert gate.end() == ()


def test_on_waking_the_window_before_is_computed_first() -> None:
    gate = IdleGate()
    assert passed(gate, 1, 1, 1, 9, 9) == [([0], []), ([], []), ([], [1]), ([2, 3], []), ([4], [])]
    assert gate.idle == 1


def test_a_zone_that_may_not_rest_is_computed() -> None:
    assert passed(IdleGate(), 1, 1, 1, may_rest=False) == [([0], []), ([1], []), ([2], [])]


def test_motion_that_was_not_measured() -> None:
    assert passed(IdleGate(), math.inf, math.inf) == [([0], []), ([1], [])]


def test_turned_off_while_a_window_is_held() -> None:
    gate = IdleGate()
    assert passed(gate, 1, 1) == [([0], []), ([], [])]
    gate.enabled = False
    assert gate.offer(ready(2, 1), may_rest=True) == ((ready(1), ready(2)), ())


def test_after_a_window_that_never_came_nothing_is_known() -> None:
    """Neither is the window before at hand, nor was it still for two."""
    gate = IdleGate()
    passed(gate, 1, 1)
    assert gate.offer(ready(3, 9), may_rest=True) == ((ready(3),), (ready(1),))
    assert gate.offer(ready(5, 1), may_rest=True) == ((ready(5),), ())
    assert gate.idle == 1


def test_a_new_epoch_begins_anew() -> None:
    gate = IdleGate()
    passed(gate, 1, 1, 1)
    gate.end()
    assert gate.idle == 2
    assert gate.offer(ready(0, 0, epoch=1), may_rest=True) == ((ready(0, epoch=1),), ())
    assert gate.idle == 0


@given(st.lists(st.tuples(st.sampled_from([0.0, 9.0]), st.booleans(), st.booleans()), max_size=40))
def test_every_window_is_computed_or_idle_once_and_in_order(windows: list[tuple[float, bool, bool]]) -> None:
    """Each: its motion, whether the zone may rest, and whether the gate is enabled then."""
    gate = IdleGate()
    computed, idle = [], []
    for index, (motion, may_rest, enabled) in enumerate(windows):
        gate.enabled = enabled
        step = gate.offer(ready(index, motion), may_rest)
        computed += [w.index for w in step.compute]
        idle += [w.index for w in step.idle]
        assert gate.idle == len(idle)
    idle += [w.index for w in gate.end()]
    assert sorted(computed + idle) == list(range(len(windows)))
    assert computed == sorted(computed)
    assert idle == sorted(idle)
    for index in idle:
        assert windows[index][0] < STILL_BELOW
    for index, (motion, _, _) in enumerate(windows):
        if motion > STILL_BELOW and index:
            assert {index - 1, index} <= set(computed), "what moves is computed, and the window before it"
