"""FootageCache: clips as cameras gave them, but no larger than training needs.

Pictures are kept raw, 28 KB a frame at 160x120: all of UCF-101 takes 70 GB for a network of less than 120 lines, and
280 GB for a larger one.
"""

from __future__ import annotations

from pathlib import Path

from train.data.cache import Arrays, ClipCache, Stored
from train.data.clips import ClipRef, Footage, load_footage


class FootageCache(ClipCache[Footage]):
    """Every frame of a clip, of at most max_height lines."""

    def __init__(self, folder: Path | None, max_height: int) -> None:
        super().__init__(folder, max_height=max_height)
        self._max_height = max_height

    def _make(self, ref: ClipRef) -> Footage:
        return load_footage(ref, self._max_height)

    def _pack(self, made: Footage) -> tuple[Arrays, dict[str, str]]:
        arrays: Arrays = {"y": made.y, "u": made.u, "v": made.v, "pts_s": made.pts_s}
        return arrays, {"path": str(made.ref.path), "range": "full" if made.full_range else "video"}

    def _unpack(self, ref: ClipRef, found: Stored) -> Footage:
        planes = found.arrays
        return Footage(ref, planes["y"], planes["u"], planes["v"], planes["pts_s"], found.notes["range"] == "full")
