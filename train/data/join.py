"""Join: clips one after the other in one H.264 file, with stillness between, and the exact truth about it.

A continuous stream is what a camera gives, and labelled clips are what data sets give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from engine.spec import NONE_LABEL
from stream.demo.record import write_mp4
from stream.demo.score import Span
from stream.frame import NS_PER_S
from train.data.clips import ClipRef, Footage, load_footage
from train.data.segments import U8

FPS = 25.0
MAX_HEIGHT = 720  # lines; a network sees far fewer
BITRATE_KBIT = 4000


def join_clips(
    refs: Sequence[ClipRef],
    path: Path,
    *,
    action_s: float = 5.0,
    still_s: float = 1.0,
    on_clip: Callable[[], None] = lambda: None,
) -> list[Span]:
    """Write `path`: each clip for action_s, from its start again at its end, then its last picture for still_s.

    The file has the first clip's size; others are letterboxed. Returns what happens when, `none` included, in
    nanoseconds from the first frame. Raises what load_footage and write_mp4 raise.
    """
    truth: list[Span] = []

    def frames() -> Iterator[U8]:
        frame, size = 0, None
        for ref in refs:
            end_s = min(ref.start_s + action_s, float("inf") if ref.end_s is None else ref.end_s)
            footage = load_footage(replace(ref, end_s=end_s), max_height=MAX_HEIGHT)
            pictures = rgb_pictures(footage)
            size = size or (pictures[0].shape[0] & ~1, pictures[0].shape[1] & ~1)
            first = frame
            for t in range(round(action_s * FPS)):
                last = letterboxed(pictures[round(t / FPS * footage.fps) % len(pictures)], *size)
                yield last
                frame += 1
            truth.append(_span(ref.label, first, frame))
            first = frame
            for _ in range(round(still_s * FPS)):
                yield last
                frame += 1
            truth.append(_span(NONE_LABEL, first, frame))
            on_clip()

    write_mp4(path, frames(), FPS, bitrate_kbit=BITRATE_KBIT)
    return truth


def letterboxed(picture: U8, height: int, width: int) -> U8:
    """RGB, uint8 [h, w, 3] -> [height, width, 3]: as large as fits, black around it."""
    h, w = picture.shape[:2]
    if (h, w) == (height, width):
        return picture
    scale = min(height / h, width / w)
    fitted = max(1, round(h * scale)), max(1, round(w * scale))
    out = np.zeros((height, width, 3), np.uint8)
    top, left = (height - fitted[0]) // 2, (width - fitted[1]) // 2
    out[top : top + fitted[0], left : left + fitted[1]] = cv2.resize(
        picture, fitted[::-1], interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    return out


def _span(label: str, first: int, end: int) -> Span:
    return Span(label, round(first / FPS * NS_PER_S), round(end / FPS * NS_PER_S))


def rgb_pictures(footage: Footage) -> list[U8]:
    """Every frame as RGB, uint8 [h, w, 3]."""
    return [_rgb(footage, i) for i in range(len(footage.y))]


def _rgb(footage: Footage, index: int) -> U8:
    planes = (footage.y[index], footage.u[index], footage.v[index])
    i420 = np.concatenate([plane.reshape(-1) for plane in planes]).reshape(-1, footage.y.shape[2])
    return np.asarray(cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420), np.uint8)
