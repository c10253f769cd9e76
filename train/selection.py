"""Selection: which clips of a folder a model is measured on, and what each should be called.

Clips lie in a folder per label. Not every label needs to have one. A folder `none`, or one that is said to be none,
holds clips in which nobody does what the model knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.spec import NONE_LABEL, ModelSpec
from train.config import TrainError
from train.data.clips import VIDEO_SUFFIXES, ClipRef, find_clips
from train.data.ucf101 import find_ucf101


@dataclass(frozen=True)
class Selection:
    """refs: the clips. notes: a line for people about each folder whose clips are not simply its own label's."""

    refs: tuple[ClipRef, ...]
    notes: tuple[str, ...]


def select_clips(
    data: Path, spec: ModelSpec, none_folders: Sequence[str] = (), groups: Sequence[str] = ()
) -> Selection:
    """The clips below `data`, of some groups only if any are named. Raises TrainError.

    A folder that is no label of the model is left out with a note; but a model of one action has only one answer to
    anything else, so its clips are `none`.
    """
    if not data.is_dir():
        raise TrainError(f"{data}: no such folder; clips lie in a folder per label, e.g. {data / spec.labels[0]}")
    folders = sorted(path.name for path in data.iterdir() if path.is_dir() and _has_clips(path))
    if unknown := [name for name in none_folders if name not in folders]:
        raise TrainError(f"{data}: there is no folder '{unknown[0]}' with clips; there are {_named(folders)}")
    labels = [name for name in folders if name in spec.labels and name not in none_folders]
    others = [name for name in folders if name not in labels]
    nones = others if len(spec.actions) == 1 and labels else [name for name in others if name in none_folders]
    if not labels and not nones:
        raise TrainError(
            f"{data}: no folder is a label of model '{spec.name}'; it knows {', '.join(spec.labels)}; "
            f"there are {_named(folders)}. A folder whose clips are none of these: --none FOLDER"
        )
    refs = _of_groups(data, find_clips(data, tuple(labels), tuple(nones)), groups)
    notes = [f"{data / name}: counted as {NONE_LABEL}" for name in nones]
    notes += [
        f"{data / name}: left out, for model '{spec.name}' has no such label; with --none {name} its clips are none"
        for name in others
        if name not in nones
    ]
    return Selection(tuple(refs), tuple(notes))


def select_split(data: Path, spec: ModelSpec, split: int, groups: Sequence[str] = ()) -> Selection:
    """The test list of an official split of UCF-101, as published in `data`. Raises TrainError.

    Labels that the model has not are left out with a note.
    """
    _, test = find_ucf101(data, split)
    refs = [ref for ref in test if ref.label in spec.actions]
    others = sorted({ref.label for ref in test} - {ref.label for ref in refs})
    if not refs:
        raise TrainError(f"{data}: model '{spec.name}' has no label of split {split}; there are {_named(others)}")
    notes = [f"{data}: left out, for model '{spec.name}' has no such label: {_named(others)}"] if others else []
    return Selection(tuple(_of_groups(data, refs, groups)), tuple(notes))


def _of_groups(data: Path, refs: list[ClipRef], groups: Sequence[str]) -> list[ClipRef]:
    """Only those of the groups, if any are named."""
    known = sorted({ref.group for ref in refs})
    if missing := [group for group in groups if group not in known]:
        raise TrainError(f"{data}: no clips of group {', '.join(missing)}; there are {_named(known)}")
    return [ref for ref in refs if not groups or ref.group in groups]


def _has_clips(folder: Path) -> bool:
    return any(path.suffix.lower() in VIDEO_SUFFIXES for path in folder.iterdir())


def _named(names: Sequence[str], most: int = 12) -> str:
    """The first few of them, in words."""
    if not names:
        return "none"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
