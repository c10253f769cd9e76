"""A camera that moves, made from one that stands."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from engine.bundle import Bundle
from engine.spec import ModelSpec
from stream.clip import Clip
from train.data.moving import with_moving_camera


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return Bundle.load("movements").spec


@pytest.fixture(scope="module")
def still(spec: ModelSpec) -> Clip:
    """Three windows of a still scene with texture; flow only in a corner."""
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.uniform(0, 255, (spec.height, spec.width, 3)), (0, 0), 2)
    scene = np.clip((scene - scene.mean()) * 4 + 128, 0, 255).astype(np.uint8)
    flow = np.zeros((3, *spec.inputs[1].shape), np.float16)
    flow[..., :8, :8] = 3
    return Clip(np.broadcast_to(scene, (3, *spec.inputs[0].shape)).copy(), flow)


@pytest.mark.parametrize("seed", range(6))
def test_flow_is_how_the_pictures_move(spec: ModelSpec, still: Clip, seed: int) -> None:
    moved = with_moving_camera(still, spec, np.random.default_rng(seed))
    told = dict(zip(spec.flow_ticks, moved.flow[1].astype(np.float64)[:, :, -8:, -8:].mean(axis=(2, 3)), strict=True))
    pictures = dict(zip(spec.picture_ticks, moved.picture[1], strict=True))
    window = cv2.createHanningWindow((spec.width, spec.height), cv2.CV_64F)
    seen, expected = [], []
    for tick, picture in pictures.items():
        between = [told[t] for t in (tick, tick + 1) if t in told]
        if tick + 2 in pictures and between:
            grey, later = (
                cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float64) for p in (picture, pictures[tick + 2])
            )
            seen.append(cv2.phaseCorrelate(grey, later, window)[0])
            expected.append(np.mean(between, axis=0) * 2)
    assert len(seen) >= 4
    assert np.abs(expected).max() > 0.02
    # Speed changes between ticks, and phase correlation is a measurement.
    assert np.median(np.abs(np.array(seen) - expected)) <= 0.3 + 0.15 * np.abs(expected).max()


def test_what_moved_before_moves_on(spec: ModelSpec, still: Clip) -> None:
    moved = with_moving_camera(still, spec, np.random.default_rng(1))
    first = moved.flow[0, 0].astype(np.float64)
    assert first[:, :2, :2].mean(axis=(1, 2)) - first[:, -8:, -8:].mean(axis=(1, 2)) == pytest.approx([3, 3], abs=0.01)


def test_the_clip_stays_as_it_is_and_flow_within_its_limit(spec: ModelSpec, still: Clip) -> None:
    before = [part.copy() for part in still]
    for seed in range(20):
        moved = with_moving_camera(still, spec, np.random.default_rng(seed))
        assert np.abs(moved.flow).max() <= spec.flow.clip_px
        assert (moved.picture[0, 0] == still.picture[0, 0]).all(), "it begins where the camera stands"
    assert all((now == then).all() for now, then in zip(still, before, strict=True))
