"""UCF-101's layout as published, with generated videos: 101 labels, 25 groups each, three official splits."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

LABELS = tuple(f"Action{n:03d}" for n in range(101))
GROUPS = range(1, 26)
TEST_GROUPS = {1: range(1, 8), 2: range(8, 15), 3: range(15, 22)}


def write_xvid(path: Path, shade: int = 60, frames: int = 10, size: tuple[int, int] = (64, 48)) -> None:
    """A bright square that walks, in the codec of the real files, at 25 fps."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), 25, size)
    for n in range(frames):
        picture = np.full((*size[::-1], 3), shade, np.uint8)
        picture[16:32, 4 * n : 4 * n + 16] = 220
        writer.write(picture)
    writer.release()


def write_lists(
    root: Path, labels: Iterable[str] = LABELS, groups: Iterable[int] = GROUPS, clips_per_group: int = 1
) -> None:
    """`ucfTrainTestlist` for these labels; groups in the test lists as the official splits have them."""
    labels, groups = tuple(labels), tuple(groups)
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("".join(f"{i} {label}\r\n" for i, label in enumerate(labels, 1)))
    for split, held in TEST_GROUPS.items():
        train, test = [], []
        for i, label in enumerate(labels, 1):
            for group in groups:
                for clip in range(1, clips_per_group + 1):
                    name = f"{label}/v_{label}_g{group:02d}_c{clip:02d}.avi"
                    (test if group in held else train).append(name + ("" if group in held else f" {i}"))
        (lists / f"trainlist{split:02d}.txt").write_text("\n".join(train) + "\n")
        (lists / f"testlist{split:02d}.txt").write_text("\n".join(test) + "\n")


def write_ucf101(root: Path, groups: Iterable[int] = (1, 8)) -> Path:
    """Lists and one tiny video for each label and group."""
    groups = tuple(groups)
    write_lists(root, groups=groups)
    sample = root / "sample.avi"
    write_xvid(sample)
    for label in LABELS:
        (root / label).mkdir()
        for group in groups:
            shutil.copy(sample, root / label / f"v_{label}_g{group:02d}_c01.avi")
    return root
