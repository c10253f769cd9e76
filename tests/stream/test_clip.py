from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.spec import Modality, ModelSpec
from stream.clip import ClipBuilder
from stream.frame import NS_PER_S, ClockSource, PlaneArray, StreamKey, Window
from tests.clip_spec import RATE_HZ, TICKS, clip_spec

HEIGHT, WIDTH = 16, 24
TICK_NS = NS_PER_S // RATE_HZ


def spec_of(modality: Modality = "rgb+flow", **flow: Any) -> ModelSpec:
    return clip_spec(modality, HEIGHT, WIDTH, **flow)


def window_of(pts_ns: list[int] | None = None, seed: int = 0, ticks: int = TICKS) -> Window:
    rng = np.random.default_rng(seed)
    pts = [n * TICK_NS for n in range(ticks)] if pts_ns is None else pts_ns
    return Window(
        stream=StreamKey("cam", "full"),
        epoch=0,
        index=0,
        pictures=rng.integers(16, 235, (ticks, HEIGHT * 3 // 2, WIDTH), np.uint8),
        pts_ns=np.array(pts, np.int64),
        arrival_ns=0,
        utc_offset_ns=0,
        clock=ClockSource.ARRIVAL,
    )


class MeanFlow:
    """Stands in for optical flow where a test has to know its value: x is the mean of prev, y of following."""

    def __init__(self) -> None:
        self.pairs = 0

    def __call__(self, prev: PlaneArray, following: PlaneArray) -> npt.NDArray[np.float32]:
        self.pairs += len(prev)
        assert prev.shape[1:] == (HEIGHT, WIDTH)
        means = np.stack([prev.mean((1, 2)), following.mean((1, 2))], axis=1)[:, :, None, None]
        return np.broadcast_to(means / 10, (len(prev), 2, HEIGHT, WIDTH)).astype(np.float32)


def luma_mean(window: Window, tick: int) -> float:
    return float(window.pictures[tick, :HEIGHT].mean()) / 10


@pytest.mark.parametrize(
    ("modality", "pictures", "flows"),
    [("rgb", range(8), ()), ("rgb+flow", (0, 2, 4, 6), (0, 2, 4, 6)), ("lessrgb+flow", (0, 4), (0, 2, 4, 6))],
)
def test_each_modality_gets_its_own_ticks(modality: Modality, pictures: list[int], flows: list[int]) -> None:
    windows = [window_of(seed=n) for n in range(3)]
    clip = ClipBuilder(spec_of(modality), MeanFlow()).build(windows)
    assert clip.picture.shape == (3, len(pictures), HEIGHT, WIDTH, 3)
    assert clip.picture.dtype == np.uint8
    assert clip.flow.shape == (3, len(flows), 2, HEIGHT, WIDTH)
    assert clip.flow.dtype == np.float16
    for n, window in enumerate(windows):
        for i, tick in enumerate(flows):
            assert clip.flow[n, i, 0, 0, 0] == pytest.approx(luma_mean(window, tick), abs=0.01)
            assert clip.flow[n, i, 1, 0, 0] == pytest.approx(luma_mean(window, tick + 1), abs=0.01)


def test_pictures_are_rgb_of_the_small_pictures() -> None:
    window = window_of()
    window.pictures[:, :HEIGHT] = 81  # red in BT.601
    window.pictures[:, HEIGHT : HEIGHT * 5 // 4] = 90
    window.pictures[:, HEIGHT * 5 // 4 :] = 240
    clip = ClipBuilder(spec_of()).build([window])
    assert np.abs(clip.picture.astype(int) - (255, 0, 0)).max() <= 2


def test_flow_is_per_tick_whatever_the_distance_of_the_frames() -> None:
    pts = [n * TICK_NS for n in range(TICKS)]
    pts[1] = TICK_NS // 2
    pts[3] = 2 * TICK_NS + 2 * TICK_NS
    window = window_of(pts)
    flow = ClipBuilder(spec_of(clip_px=1000), MeanFlow()).build([window]).flow
    assert flow[0, 0, 0, 0, 0] == pytest.approx(2 * luma_mean(window, 0), rel=1e-3)
    assert flow[0, 1, 0, 0, 0] == pytest.approx(luma_mean(window, 2) / 2, rel=1e-3)
    assert flow[0, 2, 0, 0, 0] == pytest.approx(luma_mean(window, 4), rel=1e-3)


def test_a_repeated_tick_has_no_flow_and_costs_none() -> None:
    pts = [n * TICK_NS for n in range(TICKS)]
    pts[3] = pts[2]
    flow = MeanFlow()
    clip = ClipBuilder(spec_of(), flow).build([window_of(pts), window_of([5] * TICKS)])
    assert (clip.flow[0, 1] == 0).all()
    assert (clip.flow[0, [0, 2, 3]] != 0).all()
    assert (clip.flow[1] == 0).all()
    assert flow.pairs == 3


def test_flow_is_clipped() -> None:
    clip = ClipBuilder(spec_of(clip_px=5), MeanFlow()).build([window_of()])
    assert clip.flow.max() == 5


def test_a_window_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cam/full has shape \(6, 24, 24\), model m needs \(8, 24, 24\)"):
        ClipBuilder(spec_of()).build([window_of(ticks=6)])


def test_no_windows_make_an_empty_clip() -> None:
    clip = ClipBuilder(spec_of()).build([])
    assert clip.picture.shape == (0, 4, HEIGHT, WIDTH, 3)
    assert clip.flow.shape == (0, 4, 2, HEIGHT, WIDTH)
