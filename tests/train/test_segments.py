from __future__ import annotations

import numpy as np
import pytest

from engine.spec import ModelSpec
from stream.sampler import ClipSampler, Take
from train.data.segments import action, camera_offsets, film, footage_of, grade, passing, random_view, still

PLAIN = random_view(np.random.default_rng(1), strength=0.0)


def moving_square(n: int = 24, size: int = 64) -> list[np.ndarray]:
    frames = []
    for i in range(n):
        frame = np.full((size, size, 3), 60, np.uint8)
        frame[24:40, 4 + 2 * i : 20 + 2 * i] = 220
        frames.append(frame)
    return frames


@pytest.mark.parametrize("fps", [12.5, 15.0, 25.0, 30.0])
def test_offsets_are_what_the_live_sampler_takes(fps: float) -> None:
    rng = np.random.default_rng(3)
    offset = camera_offsets(rng, 24, 12.0, fps)
    pts_s = np.arange(24) / 12.0 + offset
    assert np.abs(offset).max() <= 0.5 / fps + 1e-9
    assert np.allclose(np.round(np.diff(pts_s) * fps), np.diff(pts_s) * fps, atol=1e-6)
    sampler = ClipSampler(12.0, 12)
    sampler.offer(0)  # tick 0 lies at the first frame
    taken = [a for t in pts_s[1:] for a in sampler.offer(round((t - offset[0]) * 1e9)) if isinstance(a, Take)]
    assert len(taken) >= 22  # the camera's own phase may cost a tick at either end


def test_a_plain_view_keeps_the_picture_but_for_mirroring(spec: ModelSpec) -> None:
    footage = footage_of(moving_square())
    small = film(spec, footage, np.array([0, 5]), PLAIN)
    luma = small[:, : spec.height].astype(int)
    bright = [np.flatnonzero(row[spec.height // 2] > 150) for row in luma]
    moved = bright[1].mean() - bright[0].mean()
    expected = 5 * 2 * spec.width / 64
    assert moved == pytest.approx(-expected if PLAIN.flip else expected, abs=0.6)


def test_an_action_starts_over_at_the_clips_end(spec: ModelSpec) -> None:
    segment = action(np.random.default_rng(0), spec, footage_of(moving_square(6)), 30, PLAIN, 1.0)
    assert segment.pictures.shape == (30, spec.height * 3 // 2, spec.width)
    distinct = {picture.tobytes() for picture in segment.pictures}
    assert len(distinct) == 6


@pytest.mark.parametrize(("frames", "back"), [(40, 0), (6, 4)])
def test_a_whole_action_has_no_cut(spec: ModelSpec, frames: int, back: int) -> None:
    """At 12 frames a second: 30 ticks fit into 40 frames; in 6 frames they go to and fro."""
    footage = footage_of(moving_square(frames, size=96))
    starts = set()
    for seed in range(20):
        segment = action(np.random.default_rng(seed), spec, footage, 30, PLAIN, 1.0, whole=True)
        luma = segment.pictures[:, : spec.height].astype(float)
        place = np.array([np.average(np.arange(spec.width), weights=(p > 150).sum(axis=0) + 1e-9) for p in luma])
        steps = np.diff(place)
        assert np.abs(steps).max() < 3 * 2 * spec.width / 96
        turns = int((np.diff(np.sign(steps[np.abs(steps) > 0.2])) != 0).sum())
        assert turns >= back if back else turns == 0
        starts.add(round(place[0], 1))
    assert (len(starts) > 5) == (frames == 40)


def test_a_still_moves_nothing_but_its_noise(spec: ModelSpec) -> None:
    small = film(spec, footage_of(moving_square()), np.array([0]), PLAIN)[0]
    segment = still(np.random.default_rng(0), spec, small, 10, PLAIN)
    assert np.ptp(segment.pictures.astype(int), axis=0).max() == 0


def test_what_passes_comes_and_goes_over_a_still_scene(spec: ModelSpec) -> None:
    scene, other = film(spec, footage_of(moving_square()), np.array([0, 12]), PLAIN)
    shares = []
    for seed in range(12):
        segment = passing(np.random.default_rng(seed), spec, scene, other, 72, PLAIN)
        plain = grade(np.random.default_rng(0), scene[None], PLAIN)[0]
        shares.append((segment.pictures != plain).mean(axis=(1, 2)))
        assert segment.pictures.shape == (72, *scene.shape)
    assert all(share.min() < 0.01 for share in shares)  # gone for a while
    assert sum(share.max() > 0.03 for share in shares) >= 9


def test_grades_stay_in_video_range(spec: ModelSpec) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4, spec.height * 3 // 2, spec.width)).astype(np.uint8)
    for seed in range(20):
        view = random_view(np.random.default_rng(seed))
        out = grade(rng, pictures, view)
        assert out.dtype == np.uint8
        assert out[:, : spec.height].min() >= 16
        assert out[:, : spec.height].max() <= 235
