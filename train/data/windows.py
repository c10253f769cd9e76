"""WindowCache: whole clips as the network's input, flow included, for measuring the same clips again and again."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from engine.spec import ModelSpec
from stream.clip import Clip, ClipBuilder
from stream.reader import read_windows
from train.config import TrainError
from train.data.cache import Arrays, ClipCache, Stored
from train.data.clips import ClipRef


def clip_windows(ref: ClipRef, spec: ModelSpec, builder: ClipBuilder | None = None) -> Iterator[Clip]:
    """The consecutive windows of a clip, one by one, by the live code. builder: to share among clips.

    Raises SourceError, and TrainError for a clip of less than half a window.
    """
    builder, empty = builder or ClipBuilder(spec), True
    for window in read_windows(ref.path, spec, start_s=ref.start_s, end_s=ref.end_s):
        empty = False
        yield builder.build([window])
    if empty:
        raise TrainError(f"{ref.path}: shorter than half a window ({spec.window_s / 2:g} s)")


class WindowCache(ClipCache[Clip]):
    """All windows of a clip in one Clip, in the order of time."""

    def __init__(self, folder: Path | None, spec: ModelSpec) -> None:
        looks = spec.model_dump(mode="json", include={"modality", "ticks", "rate_hz", "height", "width", "flow"})
        super().__init__(folder, looks=looks, library=version("scikit-image") if spec.flow.method == "tvl1" else None)
        self._spec = spec

    def windows(self, ref: ClipRef) -> Iterator[Clip]:
        """As clip_windows, from the cache; filled where it must be. Raises CacheError, too, for a full disk."""
        whole = self[ref]
        for picture, flow in zip(whole.picture, whole.flow, strict=True):
            yield Clip(np.array(picture[None]), np.array(flow[None]))

    def _make(self, ref: ClipRef) -> Clip:
        clips = list(clip_windows(ref, self._spec))
        return Clip(np.concatenate([clip.picture for clip in clips]), np.concatenate([clip.flow for clip in clips]))

    def _pack(self, made: Clip) -> tuple[Arrays, dict[str, str]]:
        return {"picture": made.picture, "flow": made.flow}, {}

    def _unpack(self, ref: ClipRef, found: Stored) -> Clip:
        return Clip(found.arrays["picture"], found.arrays["flow"])
