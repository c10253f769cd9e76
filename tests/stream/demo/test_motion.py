from __future__ import annotations

import itertools

import numpy as np
import pytest

from stream.demo.motion import Motion, angles, flight
from stream.demo.motions import ACTIONS, IDLE, make_motion

# Cycles a second and body heights a second, as measured on the Weizmann clips, with room for other people.
FREQUENCY_HZ = {
    "bend": (0.25, 0.5), "jack": (0.7, 1.3), "jump": (1.4, 2.4), "pjump": (1.1, 2.0), "run": (1.1, 1.6),
    "side": (1.2, 2.0), "skip": (1.6, 2.5), "walk": (0.7, 1.15), "wave1": (0.5, 1.8), "wave2": (0.5, 1.8),
}  # fmt: skip
SPEED = {"jump": (0.6, 1.2), "run": (1.0, 2.0), "side": (0.65, 1.5), "skip": (0.7, 1.5), "walk": (0.4, 1.2)}


@pytest.mark.parametrize("label", ACTIONS)
def test_moves_as_people_were_measured_to(label: str) -> None:
    for seed in range(40):
        motion = make_motion(np.random.default_rng(seed), label)
        low, high = FREQUENCY_HZ[label]
        assert motion.label == label
        assert low <= motion.frequency_hz <= high
        low, high = SPEED.get(label, (0, 0))
        assert low <= motion.speed <= high


@pytest.mark.parametrize("label", [*ACTIONS, IDLE])
def test_poses_are_finite_continuous_and_periodic(label: str) -> None:
    motion = make_motion(np.random.default_rng(3), label)
    poses = [motion.pose(t / 120) for t in range(240)]
    steps = [np.abs(b.angles - a.angles).max() for a, b in itertools.pairwise(poses)]
    assert np.isfinite(steps).all()
    assert max(steps) < np.radians(14)
    assert all(0 <= pose.air < 0.25 for pose in poses)
    if label != IDLE:  # idling has several slow rhythms of its own
        again = motion.pose(1 / motion.frequency_hz)
        np.testing.assert_allclose(again.angles, poses[0].angles, atol=1e-9)


@pytest.mark.parametrize("label", ["jump", "run", "side", "skip", "walk"])
def test_never_goes_back_and_keeps_its_speed(label: str) -> None:
    motion = make_motion(np.random.default_rng(5), label)
    way = np.array([motion.distance(t / 50) for t in range(500)])
    assert way[0] == 0
    assert (np.diff(way) >= 0).all()
    assert way[-1] == pytest.approx(motion.speed * 9.98, rel=0.05)


def test_one_hand_waves_or_two() -> None:
    for seed in range(20):
        one = make_motion(np.random.default_rng(seed), "wave1").pose(0.3).angles
        both = make_motion(np.random.default_rng(seed), "wave2").pose(0.3).angles
        assert (one[[2, 4], 1] > np.radians(45)).sum() == 1
        assert (both[[2, 4], 1] > np.radians(45)).sum() == 2


def test_a_hop_leaves_and_reaches_the_ground() -> None:
    assert flight(0.5, 0.6) == 1
    assert flight(0.0, 0.6) == flight(0.2, 0.6) == flight(0.8, 0.6) == 0


def test_unnamed_segments_hang_straight() -> None:
    table = angles(head=(90, 0))
    assert table.shape == (10, 2)
    assert np.count_nonzero(table) == 1


def test_surge_is_fastest_in_mid_air() -> None:
    motion = Motion("jump", lambda _: (_ for _ in ()).throw(AssertionError), 1.0, 0.0, 1.0, 0.5)
    assert motion.distance(0.51) - motion.distance(0.49) > 2 * (motion.distance(0.01) - motion.distance(-0.01))


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(ValueError, match="no motion is called 'swim'; there are bend"):
        make_motion(np.random.default_rng(0), "swim")
