"""Clips on disk: a folder per label, and which group (subject, camera) each clip belongs to.

Groups come from a `split.csv` (columns `path`, `group`) beside the folders where there is one; otherwise every
clip is a group of its own. UCF-101's own layout is read by train.data.ucf101, tables of clips by train.data.table.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engine.spec import NONE_LABEL
from stream.frame import PlaneArray
from stream.home import expanded
from stream.source import Source
from train.config import TrainError

VIDEO_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v", ".mpg"}


@dataclass(frozen=True)
class ClipRef:
    """One labelled stretch of a video file; end_s None: to its end."""

    path: Path
    label: str
    group: str
    start_s: float = 0.0
    end_s: float | None = None


@dataclass(frozen=True)
class Footage:
    """A decoded clip. y: uint8 [n,h,w]; u, v: uint8 [n,h/2,w/2], video range; pts_s: float64 [n] from 0."""

    ref: ClipRef
    y: npt.NDArray[np.uint8]
    u: npt.NDArray[np.uint8]
    v: npt.NDArray[np.uint8]
    pts_s: npt.NDArray[np.float64]
    full_range: bool

    @property
    def fps(self) -> float:
        return float((len(self.pts_s) - 1) / (self.pts_s[-1] - self.pts_s[0]))


def videos_at(path: Path) -> list[Path]:
    """All videos below a folder, in order; anything else is taken for a video."""
    return sorted(p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES) if path.is_dir() else [path]


def data_root() -> Path:
    """The folder of footage: SWINSTREAM_DATA, or ../shared/data beside the checkout."""
    given = os.environ.get("SWINSTREAM_DATA")
    return Path(given) if given else Path(__file__).resolve().parents[2].parent / "shared" / "data"


def resolve(path: str) -> Path:
    """An absolute path as it is; a relative one below the current folder if it exists there, else below data_root().

    Raises TrainError for the home folder of an unknown user.
    """
    try:
        given = expanded(path)
    except ValueError as error:
        raise TrainError(str(error)) from None
    return given if given.is_absolute() or given.exists() else data_root() / given


def find_clips(root: Path, labels: tuple[str, ...], none_folders: tuple[str, ...] = ()) -> list[ClipRef]:
    """Every clip below `root/<label>/`, and every clip of the none_folders as `none`.

    Raises TrainError for a missing folder, or a label without clips.
    """
    if not root.is_dir():
        raise TrainError(f"{root}: no such folder; clips lie in a folder per label, e.g. {root / labels[0]}")
    groups = _groups(root / "split.csv")
    refs = []
    for folder, label in [*((label, label) for label in labels), *((folder, NONE_LABEL) for folder in none_folders)]:
        files = sorted(p for p in (root / folder).glob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
        if not files:
            raise TrainError(f"{root / folder}: no clips for label '{label}' ({', '.join(sorted(VIDEO_SUFFIXES))})")
        for path in files:
            key = path.relative_to(root).as_posix()
            refs.append(ClipRef(path, label, groups.get(key, key)))
    return refs


def _groups(split: Path) -> dict[str, str]:
    """The group of each clip, by its path; empty where there is no such table."""
    if not split.exists():
        return {}
    try:
        with open(split, newline="", encoding="utf-8") as file:
            return {row["path"]: row["group"] for row in csv.DictReader(file)}
    except KeyError as error:
        raise TrainError(f"{split}: it has no column {error}; expected the columns path and group") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainError(f"{split}: cannot be read: {error}") from None


def load_footage(ref: ClipRef, max_height: int) -> Footage:
    """Decode a clip with the live decoder; pictures higher than max_height lines are halved until they fit.

    Raises stream.source.SourceError for a file that can't be decoded, TrainError for one with fewer than two frames
    or with pictures of more than one size.
    """
    ys: list[PlaneArray] = []
    us: list[PlaneArray] = []
    vs: list[PlaneArray] = []
    pts: list[float] = []
    full_range = False
    with Source(str(ref.path)) as source:
        for frame in source.frames():
            t = frame.pts_ns / 1e9
            if t < ref.start_s:
                continue
            if ref.end_s is not None and t > ref.end_s:
                break
            y, u, v = frame.y, frame.u, frame.v
            while y.shape[0] > max_height:
                y, u, v = (_halve(plane) for plane in (y, u, v))
            if ys and y.shape != ys[0].shape:
                raise TrainError(f"{ref.path}: the size of its pictures changes at {t:.1f} s")
            ys.append(y.copy())
            us.append(u.copy())
            vs.append(v.copy())
            pts.append(t)
            full_range = frame.full_range
    if len(ys) < 2 or pts[-1] <= pts[0]:
        raise TrainError(f"{ref.path}: only {len(ys)} frames between {ref.start_s} s and {ref.end_s or 'its end'}")
    start = np.asarray(pts, np.float64)
    return Footage(ref, np.stack(ys), np.stack(us), np.stack(vs), start - start[0], full_range)


def _halve(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    h, w = plane.shape
    return np.asarray(cv2.resize(plane, (w // 2, h // 2), interpolation=cv2.INTER_AREA), np.uint8)
