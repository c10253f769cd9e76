"""Footage: the recordings and cameras that a calibration looks at, and what is known of each beforehand."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stream.home import expanded
from stream.uri import CameraUri, UriError

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v", ".mpg"})
SPLIT = "split.csv"


class FootageError(ValueError):
    """Footage that is not there, or of which nothing is known that a calibration needs."""


@dataclass(frozen=True)
class Recording:
    """A video file or a live camera.

    source: what stream.reader opens. label: the name of the file's folder where that is one of the model's labels.
    camera: the group that a `split.csv` gives the file, else its folder; a live camera's host. hour: of the day,
    local time, in which the file was last written; a live camera's is now.
    """

    source: str = field(repr=False)  # a camera's may hold its password
    label: str | None
    camera: str
    hour: int
    live: bool = False

    @property
    def name(self) -> str:
        """For people; holds no secret."""
        return self.camera if self.live else self.source


def find_recordings(footage: Sequence[str], labels: Sequence[str]) -> list[Recording]:
    """Every video below the given folders, the given files, and the given cameras (`rtsp://...`), in this order.

    Raises FootageError for a path that is not there, a folder without videos, and a `split.csv` without the columns
    path and group.
    """
    found: dict[str, Recording] = {}
    for text in footage:
        recordings = [_camera(text)] if "://" in text and not text.startswith("file://") else _below(text, labels)
        found |= {recording.source: recording for recording in recordings}
    return list(found.values())


def _camera(address: str) -> Recording:
    try:
        uri = CameraUri.parse(address)
    except UriError as error:
        raise FootageError(str(error)) from None
    return Recording(address, None, str(uri), time.localtime().tm_hour, live=True)


def _below(text: str, labels: Sequence[str]) -> list[Recording]:
    try:
        root = expanded(text.removeprefix("file://"))
    except ValueError as error:
        raise FootageError(str(error)) from None
    if not root.exists():
        raise FootageError(f"{root}: no such file or folder of footage")
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise FootageError(f"{root}: no videos in it ({', '.join(sorted(VIDEO_SUFFIXES))})")
    groups = _groups(root)
    recordings = []
    for file in files:
        label = file.parent.name if file.parent.name in labels else None
        folder = root.name if label is not None else file.parent.name
        camera = groups.get(file.relative_to(root).as_posix(), folder) if root.is_dir() else folder
        hour = time.localtime(file.stat().st_mtime).tm_hour
        recordings.append(Recording(str(file), label, camera, hour))
    return recordings


def _groups(root: Path) -> dict[str, str]:
    """Group by file, relative to root."""
    table = root / SPLIT
    if not table.exists():
        return {}
    try:
        with table.open(newline="", encoding="utf-8") as file:
            return {row["path"]: row["group"] for row in csv.DictReader(file)}
    except KeyError as error:
        raise FootageError(f"{table}: it has no column {error}; expected the columns path and group") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FootageError(f"{table}: cannot be read: {error}") from None
