"""Films for tests of a square that walks: pictures of any sizes at any times (tests/video.py encodes them)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stream.frame import NS_PER_S
from tests.video import encode, sample

ENCODER = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10"


class Picture(NamedTuple):
    """One grey, with a bright square. pts_s: seconds; size: (width, height); step: of its walk, None: the next."""

    pts_s: float
    size: tuple[int, int] = (160, 120)
    step: int | None = None


def steady(seconds: float, fps: float, start_s: float = 0.0, size: tuple[int, int] = (160, 120)) -> list[Picture]:
    return [Picture(start_s + n / fps, size) for n in range(round(seconds * fps))]


def walk_and_rest(walk_s: float, rest_s: float, fps: float, size: tuple[int, int] = (160, 120)) -> list[Picture]:
    """The square walks, then stands still."""
    last = round(walk_s * fps)
    return [Picture(n / fps, size, step=min(n, last)) for n in range(round((walk_s + rest_s) * fps))]


def write_video(path: Path, pictures: Iterable[Picture]) -> Path:
    """H.264 without reordering, a key frame every ten pictures. The file's kind is that of its name."""
    return encode(path, ENCODER, (_drawn(n, picture) for n, picture in enumerate(pictures)))


def _drawn(n: int, picture: Picture) -> Any:
    width, height = picture.size
    data = np.full((height * 3 // 2, width), 128, np.uint8)
    data[:height] = 60
    at = 4 * (n if picture.step is None else picture.step) % (width - 16)
    data[height // 2 : height // 2 + 16, at : at + 16] = 220
    # Without a duration, mp4mux makes a last picture that players drop.
    caps = f"video/x-raw,format=I420,width={width},height={height},framerate=0/1"
    return sample(data, round(picture.pts_s * NS_PER_S), NS_PER_S // 30, caps)
