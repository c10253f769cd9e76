from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stream.bench.footage import Film, FootageError, Format, films_for, lengthened, still_film
from stream.demo.record import write_mp4
from stream.demo.schedule import Span
from stream.source import Source

SMALL = Format(64, 64, 5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def brightening(path: Path, frames: int = 20) -> Path:
    write_mp4(path, (np.full((64, 64, 3), 40 + 8 * n, np.uint8) for n in range(frames)), 10)
    return path


def pictures(path: Path) -> Iterator[tuple[int, float]]:
    """PTS in milliseconds and mean luma of every frame."""
    with Source(str(path)) as source:
        for frame in source.frames():
            yield round(frame.pts_ns / 1e6), float(frame.y.mean())


def test_a_film_is_joined_to_itself_without_a_seam(tmp_path: Path) -> None:
    film = Film(brightening(tmp_path / "film.mp4"), 2.0, (Span("walk", 0.5, 1.5),))
    joined = lengthened(film, 5.0, tmp_path)
    assert joined.seconds == 6.0
    assert joined.truth == (Span("walk", 0.5, 1.5), Span("walk", 2.5, 3.5), Span("walk", 4.5, 5.5))
    once, thrice = list(pictures(film.path)), list(pictures(joined.path))
    assert [pts - thrice[0][0] for pts, _ in thrice] == list(range(0, 6000, 100))
    assert [luma for _, luma in thrice] == [luma for _, luma in once] * 3


def test_drawn_footage_is_made_once(cache: Path) -> None:
    film = still_film(0, SMALL)
    made = film.path.stat()
    assert film.path.is_relative_to(cache)
    assert still_film(0, SMALL) == film
    assert film.path.stat().st_mtime_ns == made.st_mtime_ns
    frames = list(pictures(film.path))
    assert len(frames) == film.seconds * SMALL.fps
    assert film.truth == ()


def test_still_cameras_are_spread_evenly(tmp_path: Path) -> None:
    source = brightening(tmp_path / "real.mp4")
    chosen = films_for(8, 0.75, SMALL, source, tmp_path, 2.0)
    assert [still for _, still in chosen] == [False, True, True, True, False, True, True, True]
    moving = chosen[0][0]
    assert moving.truth is None, "nobody knows what happens in real footage"
    assert moving.path == chosen[4][0].path
    frames = list(pictures(moving.path))
    assert len(frames) == pytest.approx(moving.seconds * SMALL.fps, abs=1), "transcoded to the wanted rate"


@pytest.mark.parametrize("content", [None, b"no video"])
def test_footage_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "absent.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FootageError, match=r"absent\.mp4"):
        films_for(1, 0.0, SMALL, path, tmp_path, 2.0)


def test_a_folder_without_videos(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="no video file in"):
        films_for(1, 0.0, SMALL, tmp_path, tmp_path, 2.0)
