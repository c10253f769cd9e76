"""Which clips are trained on and which are measured on: both sides have every label, and no group is in both."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from engine.spec import NONE_LABEL
from train.config import TrainError
from train.data.clips import ClipRef, find_clips, resolve
from train.data.config import DataConfig
from train.data.quiet import find_quiet, find_quiet_clips
from train.data.table import read_table
from train.data.ucf101 import find_ucf101


class Split(NamedTuple):
    """train, validation: clips of the actions and of `none`. quiet: footage for `none` that is only trained on.

    notes: what deserves a line to the user, though training goes on.
    """

    train: list[ClipRef]
    validation: list[ClipRef]
    quiet: list[ClipRef]
    notes: list[str]


def find_split(data: DataConfig, actions: tuple[str, ...]) -> Split:
    """The clips that a configuration names, without its excluded groups.

    Raises TrainError for what cannot be trained on: no clips, a label without clips on either side, a group that does
    not exist or that would be on both sides.
    """
    quiet = find_quiet([resolve(path) for path in data.quiet])
    quiet += [ref for path in data.quiet_clips for ref in find_quiet_clips(resolve(path))]
    if data.root is None:
        return Split([], [], quiet, [])
    root = resolve(data.root)
    notes: list[str] = []
    train, validation = (_known(root, refs, actions, notes) for refs in _listed(root, data, actions))
    groups = {ref.group for ref in [*train, *validation]}
    if unknown := {*data.exclude_groups, *data.validate_groups} - groups:
        raise TrainError(f"{root} has no group {sorted(unknown)}; its groups are {_some(groups)}")
    train, validation = ([ref for ref in refs if ref.group not in data.exclude_groups] for refs in (train, validation))
    held = set(data.validate_groups) or _share(root, train, data.validate_share)
    validation += [ref for ref in train if ref.group in held]
    train = [ref for ref in train if ref.group not in held]
    _check(root, train, validation, actions)
    single = [label for label, n in Counter(ref.label for ref in train).items() if n == 1]
    if single:
        notes.append(f"{root}: one clip only to train {_some(single)} on; it will be learned by heart")
    return Split(train, validation, quiet, notes)


def _listed(root: Path, data: DataConfig, actions: tuple[str, ...]) -> tuple[list[ClipRef], list[ClipRef]]:
    """What is on disk or in the lists: clips to train on, and clips that are for validation from the outset."""
    if data.layout == "ucf101":
        return find_ucf101(root, data.split)
    places = [root] if data.validate_root is None else [root, resolve(data.validate_root)]
    if data.layout == "csv":
        found = [read_table(place) for place in places]
    else:
        nones = [(*data.none_folders, *(NONE_LABEL for _ in place.glob(NONE_LABEL))) for place in places]
        found = [find_clips(place, actions, folders) for place, folders in zip(places, nones, strict=True)]
    return found[0], found[1] if len(found) > 1 else []


def _known(root: Path, refs: list[ClipRef], actions: tuple[str, ...], notes: list[str]) -> list[ClipRef]:
    """The clips whose label the model has; what is left out becomes a note."""
    others = Counter(ref.label for ref in refs if ref.label not in (*actions, NONE_LABEL))
    if others:
        notes.append(f"{root}: {others.total()} clips are of labels that the model does not have: {_some(others)}")
    return [ref for ref in refs if ref.label not in others]


def _share(root: Path, refs: list[ClipRef], share: float) -> set[str]:
    """Groups with at least this share of each label's clips, always the same ones."""
    held: set[str] = set()
    total = Counter(ref.label for ref in refs)
    order = sorted({ref.group for ref in refs}, key=lambda group: hashlib.sha256(group.encode()).digest())
    for label in total if share else ():
        groups = [group for group in order if any(ref.group == group and ref.label == label for ref in refs)]
        if len(groups) == 1:
            raise TrainError(
                f"{root}: label '{label}' has one group only ({groups[0]}), which can't be both trained and measured "
                "on; add clips of another, or set validate_share: 0"
            )
        for group in groups[:-1]:
            if sum(ref.label == label and ref.group in held for ref in refs) >= share * total[label]:
                break
            held.add(group)
    return held


def _check(root: Path, train: list[ClipRef], validation: list[ClipRef], actions: tuple[str, ...]) -> None:
    if crossing := {ref.group for ref in train} & {ref.group for ref in validation}:
        raise TrainError(
            f"{root}: group {_some(crossing)} is both trained and measured on; a group is on one side only"
        )
    if missing := set(actions) - {ref.label for ref in train}:
        raise TrainError(f"{root}: without the held out groups, no clip is left for {_some(missing)}")
    if validation and (missing := set(actions) - {ref.label for ref in validation}):
        raise TrainError(f"{root}: no clip of {_some(missing)} is among those to measure on; hold out other groups")


def _some(names: Iterable[str]) -> str:
    """The first few of many names, sorted."""
    ordered = sorted(names)
    return ", ".join(ordered[:8]) + (f" and {len(ordered) - 8} more" if len(ordered) > 8 else "")
