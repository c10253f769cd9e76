"""Views: the published test protocol, several clips in time by three crops of each, every one from a zero state.

As mmaction2 tests Video Swin (`SampleFrames` with num_clips, `ThreeCrop`): the clips' starts are spread evenly over
the video, the crops lie along the picture's longer side and are as large as fits, scores are averaged. A clip here is
one window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from engine.runtime.base import Engine
from engine.softmax import softmax
from engine.spec import ModelSpec
from stream.clip import ClipBuilder
from stream.failure import ErrorClass, SourceError
from stream.frame import Window
from stream.reader import read_windows
from stream.source import Source
from stream.zone import Zone
from train.data.clips import ClipRef
from train.evaluate import ClipReport, ClipResult

CROPS = 3


def crops(spec: ModelSpec, height: int, width: int) -> list[Zone]:
    """Three zones of a picture of height x width, of the network's shape: at both ends and in the middle."""
    share = (spec.width / spec.height) / (width / height)
    places = np.linspace(0, 1, CROPS)
    if share <= 1:
        return [Zone(float(p * (1 - share)), 0, share, 1) for p in places]
    return [Zone(0, float(p * (1 - 1 / share)), 1, 1 / share) for p in places]


def starts(ticks: int, spec: ModelSpec, count: int) -> list[int]:
    """The first ticks of `count` windows, each in the middle of its share of the ticks there are, on a token's edge."""
    free = ticks - spec.ticks
    period = spec.pattern.ticks
    places = (np.arange(count) + 0.5) * (free + 1) / count
    return [int(min(p, free)) // period * period for p in places]


def evaluate_views(
    engine: Engine, refs: Sequence[ClipRef], count: int, on_clip: Callable[[], None] = lambda: None
) -> ClipReport:
    """`count` clips in time by three crops of every video. What can't be read is listed."""
    builder = ClipBuilder(engine.spec)
    slots = [engine.open_slot() for _ in range(count)]
    results, unreadable = [], []
    for ref in refs:
        try:
            height, width = _size(ref.path)
            scores = []
            for zone in crops(engine.spec, height, width):
                views = _views(ref, engine.spec, zone, count)
                for slot in slots:
                    engine.reset_slot(slot)
                picture, flow = builder.build(views)
                scores.append(softmax(engine.infer(slots[: len(views)], picture, flow).logits).mean(axis=(0, 1)))
            results.append(ClipResult(ref, np.mean(scores, axis=0, dtype=np.float32)))
        except SourceError as error:
            unreadable.append((ref, str(error)))
        on_clip()
    for slot in slots:
        engine.close_slot(slot)
    return ClipReport(engine.spec.labels, tuple(results), tuple(unreadable))


def _size(path: Path) -> tuple[int, int]:
    """Height and width of a video's first picture."""
    with Source(str(path)) as source:
        for frame in source.frames():
            return frame.height, frame.width
    raise SourceError(ErrorClass.EOF, f"{path} has no picture")


def _views(ref: ClipRef, spec: ModelSpec, zone: Zone, count: int) -> list[Window]:
    """`count` windows of the clip's longest stretch without a gap."""
    found = read_windows(ref.path, spec, zone, start_s=ref.start_s, end_s=ref.end_s)
    stretches = [list(windows) for _, windows in groupby(found, lambda window: window.epoch)]
    if not stretches:
        raise SourceError(ErrorClass.EOF, f"{ref.path}: shorter than half a window ({spec.window_s / 2:g} s)")
    longest = max(stretches, key=len)
    pictures = np.concatenate([window.pictures for window in longest])
    pts_ns = np.concatenate([window.pts_ns for window in longest])
    parts = [slice(first, first + spec.ticks) for first in starts(len(pts_ns), spec, count)]
    return [replace(longest[0], index=n, pictures=pictures[p], pts_ns=pts_ns[p]) for n, p in enumerate(parts)]
