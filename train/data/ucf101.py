"""UCF-101 as published (Soomro, Zamir, Shah 2012): `<label>/v_<name>_g01_c01.avi` and the three official splits.

The lists are `ucfTrainTestlist/classInd.txt`, `trainlist01.txt` and `testlist01.txt`, inside root or beside it; the
videos' folders lie in root or in `root/UCF-101`, as the archive unpacks. The clips of one group (`g01` of a label)
are cut from the same footage, and the official splits never cross one.
"""

from __future__ import annotations

import re
from pathlib import Path

from train.config import TrainError
from train.data.clips import ClipRef

LISTS = "ucfTrainTestlist"
_GROUP = re.compile(r"_(g\d+)_c\d+$")


def ucf101_labels(root: Path) -> tuple[str, ...]:
    """The labels of `classInd.txt` in its order. Raises TrainError."""
    path = _lists(root) / "classInd.txt"
    labels: list[str] = []
    for number, line in _lines(path):
        index, _, label = line.partition(" ")
        if index != str(len(labels) + 1) or not label:
            raise TrainError(f"{path}:{number}: expected `{len(labels) + 1} <label>`, found {line!r}")
        labels.append(label)
    return tuple(labels)


def find_ucf101(root: Path, split: int) -> tuple[list[ClipRef], list[ClipRef]]:
    """The training and the test clips of an official split, whether or not their files are there.

    Raises TrainError for a missing or damaged list, and for a label that `classInd.txt` lacks.
    """
    known = set(ucf101_labels(root))
    videos = root / "UCF-101" if (root / "UCF-101").is_dir() else root
    train, test = (_clips(_lists(root) / f"{kind}list{split:02d}.txt", videos, known) for kind in ("train", "test"))
    return train, test


def _clips(path: Path, videos: Path, known: set[str]) -> list[ClipRef]:
    refs = []
    for number, line in _lines(path):
        name = line.split(" ")[0]  # a training list has the label's number after it
        label, _, file = name.partition("/")
        group = _GROUP.search(Path(file).stem)
        if group is None:
            raise TrainError(f"{path}:{number}: expected `<label>/v_<name>_g01_c01.avi`, found {line!r}")
        if label not in known:
            raise TrainError(f"{path}:{number}: label {label!r} is not in classInd.txt")
        refs.append(ClipRef(videos / label / file, label, f"{label}_{group[1]}"))
    if not refs:
        raise TrainError(f"{path}: the list is empty")
    return refs


def _lists(root: Path) -> Path:
    for folder in (root / LISTS, root.parent / LISTS):
        if folder.is_dir():
            return folder
    raise TrainError(f"{root}: UCF-101's lists are missing: unpack its {LISTS} there")


def _lines(path: Path) -> list[tuple[int, str]]:
    """Number and text of every line that is not empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TrainError(f"{path}: not UTF-8") from None
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
