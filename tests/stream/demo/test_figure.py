from __future__ import annotations

import math

import numpy as np
import pytest

from stream.demo.figure import Body, Pose, Stance, draw_figure


def drawn(pose: Pose, stance: Stance) -> np.ndarray:
    canvas = np.full((200, 200, 3), 255, np.uint8)
    draw_figure(canvas, Body(), pose, stance)
    return canvas


def standing() -> Pose:
    return Pose(np.zeros((10, 2)))


def extent(canvas: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((canvas != 255).any(2))
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_stands_on_the_ground_and_is_as_tall_as_asked() -> None:
    top, bottom, left, right = extent(drawn(standing(), Stance(100, 180, 120, math.pi / 2)))
    assert bottom == pytest.approx(180, abs=4)
    assert bottom - top == pytest.approx(120, rel=0.08)
    assert (left + right) / 2 == pytest.approx(100, abs=2)


def test_in_the_air_is_higher() -> None:
    stance = Stance(100, 180, 120, math.pi / 2)
    up = standing()
    up.air = 0.1
    assert extent(drawn(up, stance))[1] == pytest.approx(extent(drawn(standing(), stance))[1] - 12, abs=1)


def test_an_arm_held_forward_points_the_way_the_figure_faces() -> None:
    pose = standing()
    pose.angles[2:6, 0] = math.pi / 2
    assert extent(drawn(pose, Stance(100, 180, 120, 0.0)))[3] > 130
    assert extent(drawn(pose, Stance(100, 180, 120, math.pi)))[2] < 70


def test_the_left_hand_of_one_who_faces_the_camera_is_on_the_right() -> None:
    pose = standing()
    pose.angles[2:4, 1] = math.pi / 2
    assert extent(drawn(pose, Stance(100, 180, 120, math.pi / 2)))[3] > 130
    assert extent(drawn(pose.mirrored(), Stance(100, 180, 120, math.pi / 2)))[2] < 70


def test_mirroring_twice_changes_nothing() -> None:
    pose = Pose(np.random.default_rng(0).normal(0, 1, (10, 2)), 0.1, 0.4)
    twice = pose.mirrored().mirrored()
    np.testing.assert_array_equal(twice.angles, pose.angles)
    assert (twice.air, twice.turn) == (pose.air, pose.turn)


def test_mixing_ends_at_both_poses() -> None:
    a, b = standing(), Pose(np.ones((10, 2)), 0.2, 1.0)
    assert a.mixed(b, 0).air == 0
    np.testing.assert_array_equal(a.mixed(b, 1).angles, b.angles)


@pytest.mark.parametrize("x", [-1e9, -90.0, 0.0, 199.0, 290.0, 1e9])
def test_outside_the_canvas_is_cut_off(x: float) -> None:
    canvas = drawn(standing(), Stance(x, 180, 120, 0.0))
    assert canvas.shape == (200, 200, 3)
    assert (canvas == 255).all() == (not 0 <= x < 200)
