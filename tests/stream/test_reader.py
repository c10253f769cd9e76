from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.spec import ModelSpec
from stream.clip import ClipBuilder
from stream.failure import SourceError
from stream.frame import NS_PER_S
from stream.reader import read_windows
from stream.zone import Zone, ZoneError, to_rgb
from tests.video import Picture, flat, write_video
from train.data.clips import data_root

WIDTH, HEIGHT = 160, 128
SPEC = ModelSpec(
    name="m",
    version="0",
    labels=("walk", "none"),
    modality="rgb+flow",
    ticks=12,
    rate_hz=12,
    height=80,
    width=80,
)
CONTENT = slice(10, 70)  # rows of the letterboxed picture that surely show the film


def rising(count: int, width: int = WIDTH, height: int = HEIGHT) -> Iterator[Picture]:
    """Frame n has luma 40 + n, and a colour."""
    return (flat(width, height, 40 + n, 90, 170) for n in range(count))


def film(folder: Path, seconds: float, fps: int, name: str = "film.mkv") -> Path:
    return write_video(folder / name, rising(round(seconds * fps)), WIDTH, HEIGHT, fps, "raw")


def frame_numbers(pictures: np.ndarray) -> list[int]:
    return [round(float(picture[CONTENT, 8:72].mean())) - 40 for picture in pictures]


@pytest.mark.parametrize("fps", [12, 15, 25, 30, 60])
def test_ticks_show_the_nearest_frames(tmp_path: Path, fps: int) -> None:
    windows = list(read_windows(film(tmp_path, 2, fps), SPEC))
    pts_ns = np.concatenate([window.pts_ns for window in windows])
    expected = [min(tick * fps / 12, 2 * fps - 1) for tick in range(24)]
    numbers = frame_numbers(np.concatenate([window.pictures for window in windows]))
    assert all(abs(got - want) <= 0.5 for got, want in zip(numbers, expected, strict=True))
    assert np.abs(pts_ns / NS_PER_S * fps - expected).max() <= 0.5 + 0.001 * fps


def test_windows_tile_the_ticks_and_the_last_is_completed(tmp_path: Path) -> None:
    windows = list(read_windows(film(tmp_path, 1.6, 30), SPEC))
    assert [(window.epoch, window.index) for window in windows] == [(0, 0), (0, 1)]
    pictures = np.concatenate([window.pictures for window in windows])
    pts_ns = np.concatenate([window.pts_ns for window in windows])
    count = len(np.unique(pts_ns))
    assert 18 <= count < 24
    assert (np.diff(pts_ns[:count]) > 0).all()
    assert (pts_ns[count:] == pts_ns[count - 1]).all()
    assert (pictures[count:, : SPEC.height] == pictures[count - 1, : SPEC.height]).all()


def test_a_short_rest_makes_no_window(tmp_path: Path) -> None:
    assert len(list(read_windows(film(tmp_path, 1.3, 30), SPEC))) == 1
    assert list(read_windows(film(tmp_path, 0.3, 30), SPEC)) == []


def test_a_stretch_of_a_file_is_read_alone(tmp_path: Path) -> None:
    path = film(tmp_path, 4, 30)
    first, second = read_windows(path, SPEC, start_s=1.0, end_s=3.0)
    assert first.pts_ns[0] == pytest.approx(1.0 * NS_PER_S, abs=NS_PER_S // 30)
    assert first.index == 0
    assert 2.8 * NS_PER_S < second.pts_ns[-1] <= 3.0 * NS_PER_S


def test_windows_have_colours_where_the_network_looks(tmp_path: Path) -> None:
    for window in read_windows(film(tmp_path, 1.6, 30), SPEC):
        for tick in range(SPEC.ticks):
            coloured = bool((window.pictures[tick, SPEC.height :] != 128).any())
            assert coloured == (tick in SPEC.picture_ticks), "also on repeated ticks"


def test_a_gap_begins_a_new_epoch(tmp_path: Path) -> None:
    times = [n * NS_PER_S // 25 for n in range(75)]
    times = [t if n < 40 else t + 2 * NS_PER_S for n, t in enumerate(times)]
    path = write_video(tmp_path / "gap.mkv", rising(75), WIDTH, HEIGHT, 25, "raw", pts_ns=times)
    first, second = read_windows(path, SPEC)
    assert [(window.epoch, window.index) for window in (first, second)] == [(0, 0), (1, 0)]
    assert second.pts_ns[0] == pytest.approx(3.6 * NS_PER_S, abs=2_000_000)


def test_a_zone_shows_its_part_only(tmp_path: Path) -> None:
    half = np.concatenate(
        [np.repeat([[50] * 80 + [200] * 80], HEIGHT, axis=0).ravel(), np.full(WIDTH * HEIGHT // 2, 128)]
    ).astype(np.uint8)
    path = write_video(tmp_path / "half.mkv", [half] * 20, WIDTH, HEIGHT, 25, "raw")
    (window,) = read_windows(path, SPEC, Zone(80, 0, 80, 128, unit="pixel"))
    assert set(np.unique(window.pictures[:, : SPEC.height])) == {16, 200}
    with pytest.raises(ZoneError, match="160x128"):
        list(read_windows(path, SPEC, Zone(0, 0, 320, 240, unit="pixel")))


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nothing\.mp4"):
        list(read_windows(tmp_path / "nothing.mp4", SPEC))


def test_still_pictures_have_no_flow_and_their_colours(tmp_path: Path) -> None:
    path = write_video(tmp_path / "still.mkv", [flat(WIDTH, HEIGHT, 81, 90, 240)] * 30, WIDTH, HEIGHT, 25, "raw")
    clip = ClipBuilder(SPEC).build(list(read_windows(path, SPEC)))
    assert (clip.flow == 0).all()
    assert np.abs(clip.picture[:, :, 20:60, 20:60].astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.needs_data
@pytest.mark.parametrize("action", ["walk", "bend"])
def test_real_footage(action: str) -> None:
    path = sorted((data_root() / "weizmann" / action).glob("*.avi"))[0]
    windows = list(read_windows(path, SPEC))
    assert len(windows) > 1
    clip = ClipBuilder(SPEC).build(windows)
    assert clip.picture.shape[1:] == (6, 80, 80, 3)
    assert 0.5 < np.abs(clip.flow).max() <= SPEC.flow.clip_px
    assert to_rgb(windows[0].pictures[0]).std() > 10
