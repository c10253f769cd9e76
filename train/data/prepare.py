"""Fills a cache before training, in several processes, and lists the clips that are of no use.

Interrupt it when you like: what is made is kept, and the next start goes on from there.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.data import DataLoader, Dataset

from stream.failure import SourceError
from train.config import TrainError
from train.data.cache import CacheError, ClipCache
from train.data.clips import ClipRef

CLIPS_PER_PROCESS = 60  # what a process must have to do to be worth the seconds that it takes to start
TOLD = 10  # skipped clips that are named on the screen; skipped.csv has them all


class SkippedClip(NamedTuple):
    """A clip that is not trained on, and why: missing, unreadable, empty or too short."""

    ref: ClipRef
    reason: str


class _Made(NamedTuple):
    """What became of a clip. reason: None if it is in the cache now. full: the cache is at fault, not the clip."""

    ref: ClipRef
    reason: str | None = None
    full: bool = False


class _Making(Dataset[_Made]):
    """Item i puts clip i into the cache."""

    def __init__(self, cache: ClipCache[Any], refs: Sequence[ClipRef]) -> None:
        self._cache = cache
        self._refs = refs

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, number: int) -> _Made:
        ref = self._refs[number]
        try:
            self._cache.make(ref)
        except CacheError as error:
            return _Made(ref, str(error), full=True)
        except (TrainError, SourceError) as error:
            return _Made(ref, str(error))
        return _Made(ref)


def prepare(
    cache: ClipCache[Any], refs: Iterable[ClipRef], console: Console, processes: int | None = None
) -> list[SkippedClip]:
    """Put every clip into the cache that is not in it yet; returns those that can't be.

    processes: how many decode, 0: this one; None takes as many as there are cores, fewer for a few clips. Raises
    CacheError for a full disk.
    """
    skipped, todo = [], []
    for ref in refs:
        try:
            if not cache.has(ref):
                todo.append(ref)
        except TrainError as error:
            skipped.append(SkippedClip(ref, str(error)))
    if processes is None:
        processes = min(os.cpu_count() or 1, len(todo) // CLIPS_PER_PROCESS)
        processes = processes if processes > 1 else 0
    if cache.folder is None:
        processes = 0
    loader: DataLoader[_Made] = DataLoader(
        _Making(cache, todo),
        batch_size=None,
        num_workers=processes,
        multiprocessing_context="spawn" if processes else None,
        in_order=False,
    )
    columns = (
        TextColumn("decoding clips"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[skipped]} of no use"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not todo) as progress:
        task = progress.add_task("", total=len(todo), skipped=len(skipped))
        for made in loader:
            if made.full:
                raise CacheError(made.reason)
            if made.reason is not None:
                skipped.append(SkippedClip(made.ref, made.reason))
            progress.update(task, advance=1, skipped=len(skipped))
    return sorted(skipped, key=lambda one: str(one.ref.path))


def tell_skipped(skipped: Sequence[SkippedClip], console: Console) -> None:
    """The number of skipped clips and the first of them, with reasons."""
    if not skipped:
        return
    console.print(f"{len(skipped)} clips are of no use and left out:", style="yellow", highlight=False)
    for clip in skipped[:TOLD]:
        console.print(f"  {clip.reason}", markup=False, highlight=False, soft_wrap=True)
    if len(skipped) > TOLD:
        console.print(f"  and {len(skipped) - TOLD} more, all in skipped.csv", highlight=False)


def write_skipped(path: Path, skipped: Sequence[SkippedClip]) -> None:
    """A table of the skipped clips; without any, no file."""
    if not skipped:
        path.unlink(missing_ok=True)
        return
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "start_s", "end_s", "group", "reason"))
        for ref, reason in skipped:
            end_s = "" if ref.end_s is None else ref.end_s
            table.writerow((ref.path, ref.label, ref.start_s, end_s, ref.group, reason))
