from __future__ import annotations

import itertools

import numpy as np
import pytest

from engine.spec import ModelSpec
from stream.clip import ClipBuilder
from stream.frame import ClockSource, StreamKey, Window
from train.config import TrainConfig
from train.data.augment import PLAIN, draw_stretch, draw_view
from train.data.clips import load_footage
from train.data.config import AugmentConfig, MixConfig
from train.data.segments import View, film, footage_of, grade, random_view
from train.data.sequences import SequenceDataset, SequenceMaker


def walking(n: int = 4) -> list[np.ndarray]:
    """A textured square on a textured ground, 3 px to the right and 1 down each frame."""
    rng = np.random.default_rng(2)
    ground, square = rng.integers(60, 120, (64, 64, 3), np.uint8), rng.integers(150, 230, (24, 24, 3), np.uint8)
    frames = []
    for i in range(n):
        frame = ground.copy()
        frame[16 + i : 40 + i, 12 + 3 * i : 36 + 3 * i] = square
        frames.append(frame)
    return frames


def flow_of(spec: ModelSpec, view: View) -> np.ndarray:
    """float [Tf, 2, H, W] of the walk through the live code, as this view shows it."""
    pictures = film(spec, footage_of(walking(spec.ticks)), np.arange(spec.ticks), view)
    pts_ns = np.arange(1, spec.ticks + 1) * round(1e9 / spec.rate_hz)
    window = Window(StreamKey("c", "full"), 0, 0, pictures, pts_ns, 0, 0, ClockSource.ARRIVAL)
    return ClipBuilder(spec).build([window]).flow[0].astype(np.float32)


def test_a_mirrored_clip_moves_the_other_way(spec: ModelSpec) -> None:
    """x-flow is negated and y-flow is not: the mirror comes before flow is computed."""
    plain, mirrored = (flow_of(spec, View(**{**vars(PLAIN), "flip": flip})) for flip in (False, True))
    moves = np.abs(plain[:, 0]) > 0.5
    assert moves.mean() > 0.1
    assert plain[:, 0][moves].mean() > 1
    back = mirrored[..., ::-1]
    assert np.abs(back[:, 0] + plain[:, 0])[moves].mean() < 0.1
    assert np.abs(back[:, 1] - plain[:, 1])[moves].mean() < 0.1


def test_crops_are_as_large_and_as_wide_as_asked() -> None:
    rng = np.random.default_rng(0)
    augment = AugmentConfig(kind="paper", crop_area=(0.25, 0.8), crop_aspect=(0.8, 1.25))
    views = [draw_view(rng, augment) for _ in range(500)]
    areas = np.array([view.width * view.height for view in views])
    aspects = np.array([view.width / view.height for view in views])
    assert areas.min() == pytest.approx(0.25, abs=0.02)
    assert areas.max() == pytest.approx(0.8, abs=0.02)
    assert aspects.min() == pytest.approx(0.8, abs=0.02)
    assert aspects.max() == pytest.approx(1.25, abs=0.02)
    assert min(min(v.left, v.top, 1 - v.left - v.width, 1 - v.top - v.height) for v in views) >= -1e-9
    assert 0.4 < np.mean([view.flip for view in views]) < 0.6
    assert {(v.gain, v.bias, v.noise, v.blur, v.pad, v.chroma_gain) for v in views} == {(1, 0, 0, 0, 0, 1)}
    assert draw_stretch(rng, augment) == 1


def test_a_crop_that_never_fits_is_the_whole_picture() -> None:
    view = draw_view(np.random.default_rng(0), AugmentConfig(kind="paper", crop_area=(1, 1), crop_aspect=(2, 2)))
    assert (view.left, view.top, view.width, view.height) == (0, 0, 1, 1)


def test_strong_is_what_it_was() -> None:
    """The bundles' weights were trained with exactly these numbers from exactly this stream of random ones."""
    a, b = np.random.default_rng(5), np.random.default_rng(5)
    assert draw_view(a, AugmentConfig()) == random_view(b)
    assert draw_stretch(a, AugmentConfig()) == float(np.exp(b.normal(0, 0.12)))
    assert draw_view(a, AugmentConfig(), 0.5) == random_view(b, strength=0.5)
    assert a.random() == b.random()


def test_off_shows_every_clip_as_it_is(spec: ModelSpec, config: TrainConfig) -> None:
    dataset = SequenceDataset(config)
    maker = SequenceMaker(spec, dataset.refs, [], augment=AugmentConfig(kind="off"))
    mix = MixConfig(none=0, action_s=None, freeze=0)
    sequence = maker.filmed(np.random.default_rng(0), 8, mix)
    assert len(set(sequence.label.tolist())) == 1
    shown = {picture.tobytes() for picture in sequence.pictures}
    ungraded: set[bytes] = set()
    for ref in dataset.refs:
        footage = load_footage(ref, 2 * spec.height)
        small = film(spec, footage, np.arange(len(footage.y)), PLAIN)
        ungraded |= {picture.tobytes() for picture in grade(np.random.default_rng(0), small, PLAIN)}
    assert shown <= ungraded


def test_one_clip_may_fill_a_sequence(spec: ModelSpec, config: TrainConfig) -> None:
    maker = SequenceMaker(spec, SequenceDataset(config).refs, [])
    many = maker.filmed(np.random.default_rng(3), 240, MixConfig(none=0, freeze=0))
    one = maker.filmed(np.random.default_rng(3), 240, MixConfig(none=0, freeze=0, action_s=None))
    assert sum(a != b for a, b in itertools.pairwise(many.label)) > 1
    assert sum(a != b for a, b in itertools.pairwise(one.label)) == 0


@pytest.mark.parametrize(
    "settings", [{"crop_area": (0, 1)}, {"crop_area": (0.5, 0.2)}, {"crop_area": (0.5, 1.5)}, {"crop_aspect": (2, 1)}]
)
def test_crops_that_make_no_sense_are_told(settings: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="crop_"):
        AugmentConfig.model_validate(settings)
