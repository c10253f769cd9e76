from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from engine.spec import NONE_LABEL
from stream.demo.motions import ACTIONS, IDLE
from stream.demo.scene import Lens, Scene, clip, sequence, shoot

STILL = Lens(
    shake_px=0, gain=1, flicker=0, drift=0, drift_hz=0.1, step=0, step_s=0, noise=0.5, blur=0.5
)  # fmt: skip


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("label", [*ACTIONS, IDLE, NONE_LABEL])
def test_a_clip_has_its_size_and_follows_from_its_seed(label: str) -> None:
    first, again, other = (clip(rng(7, s), label, 1.5, 12, width=160, height=120) for s in (0, 0, 1))
    assert first.shape == (18, 120, 160, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def motion(scene: Scene) -> float:
    """Mean length of flow over two seconds, pixels a tick of 1/12 s."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    grey = [cv2.cvtColor(scene.frame(1 + t / 12), cv2.COLOR_RGB2GRAY) for t in range(24)]
    flows = [dis.calc(a, b, None) for a, b in itertools.pairwise(grey)]
    return float(np.mean([np.linalg.norm(f, axis=2).mean() for f in flows]))


def test_every_action_moves_more_than_idling() -> None:
    def average(label: str) -> float:
        return float(
            np.mean(
                [
                    motion(
                        Scene(rng(s), [(label, 4)], 160, 128, lens=STILL, body_height=0.5, distractors=0, border="turn")
                    )
                    for s in range(4)
                ]
            )
        )

    idle = average(IDLE)
    assert {label: round(average(label), 3) for label in ACTIONS if average(label) < 1.5 * idle} == {}


def test_the_labels_are_those_of_the_segments_frame_by_frame() -> None:
    segments = [("walk", 2.0), ("none", 1.0), ("wave2", 2.0), ("bend", 3.0)]
    for seed in range(6):
        frames, labels = sequence(rng(seed), segments, 12, cut=0.3)
        assert len(frames) == len(labels) == 96
        for n, label in enumerate(labels):
            due = "walk" if n < 24 else "none" if n < 36 else "wave2" if n < 60 else "bend"
            assert label in {due, NONE_LABEL}  # none where the actor has left the picture
        assert labels.count("wave2") == 24


def test_one_who_has_left_the_picture_is_none() -> None:
    scene = Scene(rng(1), [("run", 20)], 160, 128, border="return", distractors=0, lens=STILL)
    labels = {scene.label(t / 10) for t in range(200)}
    assert labels == {"run", NONE_LABEL}
    away = next(t / 10 for t in range(200) if scene.label(t / 10) == NONE_LABEL)
    assert scene.actor is not None
    assert not scene.actor.visible(away)


def test_nobody_is_in_an_empty_scene() -> None:
    scene = Scene(rng(2), [("none", 2)], 160, 128, distractors=0, lens=STILL)
    assert scene.actor is None
    assert scene.label(1.0) == NONE_LABEL
    assert np.abs(scene.frame(0.0).astype(int) - scene.frame(1.0)).max() < 8  # only noise


def test_cuts_fall_between_segments_and_nothing_is_lost() -> None:
    segments = [("walk", 1.0), ("none", 2.0), ("jack", 3.0), ("none", 1.0), ("idle", 1.0)]
    for seed in range(20):
        flat = [part for shot in shoot(rng(seed), segments, 0.5) for part in shot]
        assert [s for _, s in flat] == [s for _, s in segments]
        for (was, _), (now, _) in zip(segments, flat, strict=True):
            assert now == was or (was, now) == (NONE_LABEL, IDLE)
    assert len(shoot(rng(0), [("walk", 1.0), ("run", 1.0)], 0.0)) == 1


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(ValueError, match="no label is called 'swim'"):
        sequence(rng(0), [("swim", 1.0)], 12)
    with pytest.raises(ValueError, match="'swim'"):
        clip(rng(0), "swim", 1.0, 12)
