"""Join: clips one after the other in one H.264 file, with stillness between, and the exact truth about it.

A continuous stream is what a camera gives, and labelled clips are what data sets give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def join_clips(refs: Sequence[ClipRef], path: Path, *, action_s: float = 5.0, still_s: float = 1.0) -> list[Span]:
    """Write `path`: each clip for action_s, from its start again at its end, then its last picture for still_s.

    Returns what happens when, `none` included, in nanoseconds from the first frame. Raises what load_footage and
    write_mp4 raise.
    """
    truth: list[Span] = []

    def frames() -> Iterator[U8]:
        frame = 0
        for ref in refs:
            footage = load_footage(ref, max_height=10_000)
            pictures = rgb_pictures(footage)
            first = frame
            for t in range(round(action_s * FPS)):
                yield pictures[round(t / FPS * footage.fps) % len(pictures)]
                frame += 1
            truth.append(_span(ref.label, first, frame))
            first = frame
            for _ in range(round(still_s * FPS)):
                yield pictures[round((round(action_s * FPS) - 1) / FPS * footage.fps) % len(pictures)]
                frame += 1
            truth.append(_span(NONE_LABEL, first, frame))

    write_mp4(path, frames(), FPS)
    return truth


def _span(label: str, first: int, end: int) -> Span:
    return Span(label, round(first / FPS * NS_PER_S), round(end / FPS * NS_PER_S))


def rgb_pictures(footage: Footage) -> list[U8]:
    """Every frame as RGB, uint8 [h, w, 3]."""
    return [_rgb(footage, i) for i in range(len(footage.y))]


def _rgb(footage: Footage, index: int) -> U8:
    planes = (footage.y[index], footage.u[index], footage.v[index])
    i420 = np.concatenate([plane.reshape(-1) for plane in planes]).reshape(-1, footage.y.shape[2])
    return np.asarray(cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420), np.uint8)
