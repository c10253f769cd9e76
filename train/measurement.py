"""Measurement: a bundle on clips, on films made of them, live and on quiet footage, with progress for people."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from engine.bundle import Bundle
from engine.runtime.base import Engine
from engine.runtime.choose import EngineChoice, choose_engine
from stream.events import Rules
from stream.failure import SourceError
from stream.stopper import Stopper
from stream.thresholds import Thresholds
from train.config import TrainError
from train.data.clips import VIDEO_SUFFIXES, ClipRef, videos_at
from train.detection import EventReport
from train.evaluate import evaluate_clips
from train.evaluation import Evaluation, Offline, Quiet
from train.films import Film, make_films
from train.live import LiveReport, playing_s, watch_live
from train.online import OnlineEvent, events_in, trace
from train.selection import select_clips, select_split
from train.views import evaluate_views


@dataclass(frozen=True)
class Wanted:
    """What is to be measured. split: data is UCF-101 as published, and only this split's test list counts.

    views: clips in time of the published protocol, 0: it is not measured.

    cameras: films played at a time, live; 0: two, or one on a machine with one core.
    """

    data: Path
    groups: tuple[str, ...] = ()
    none_folders: tuple[str, ...] = ()
    split: int | None = None
    engine: EngineChoice = "auto"
    views: int = 0
    online: bool = False
    live: bool = False
    cameras: int = 0
    quiet: tuple[Path, ...] = ()


def measure(bundle: Bundle, wanted: Wanted, console: Console) -> Evaluation:
    """Raises TrainError for what is wrong with the data, and what the parts raise."""
    if wanted.split is not None and wanted.none_folders:
        raise TrainError("--none says what folders hold: it does not go with --split")
    if wanted.split is None:
        selection = select_clips(wanted.data, bundle.spec, wanted.none_folders, wanted.groups)
    else:
        selection = select_split(wanted.data, bundle.spec, wanted.split, wanted.groups)
    quiet = quiet_files(wanted.quiet)
    for note in selection.notes:
        _tell(console, note)
    engine = choose_engine(bundle, wanted.engine)
    try:
        with _progress(console, "clips", len(selection.refs)) as advance:
            clips = evaluate_clips(engine, selection.refs, lambda: advance(1))
        for ref, why in clips.unreadable:
            _tell(console, f"not counted: {ref.path}: {why}")
        if not clips.results:
            raise TrainError(f"{wanted.data}: no clip could be read")
        refs = [result.ref for result in clips.results]
        found = Evaluation(bundle.name, bundle.identity, str(engine.info), wanted.data, wanted.groups, clips)
        if wanted.views:
            with _progress(console, "views", len(refs)) as advance:
                views = evaluate_views(engine, refs, wanted.views, lambda: advance(1))
            found = replace(found, views=views, view_count=wanted.views)
        if quiet:
            found = replace(found, quiet=_watch_quiet(bundle, engine, quiet, console))
        if wanted.online or wanted.live:
            with tempfile.TemporaryDirectory(prefix="swinstream-films-") as folder:
                films = _make_films(refs, Path(folder), console)
                found = replace(found, offline=_read_films(bundle, engine, films, console))
                if wanted.live:
                    found = replace(found, live=_play_films(bundle, films, wanted, console))
    finally:
        engine.close()
    return found


def quiet_files(paths: Sequence[Path]) -> list[Path]:
    """Video files, and those in folders. Raises TrainError for a path where there is none."""
    files: list[Path] = []
    for path in paths:
        inside = videos_at(path)
        if not path.exists():
            raise TrainError(f"{path}: no such file or folder of quiet footage")
        if not inside:
            raise TrainError(f"{path}: no video in it ({', '.join(sorted(VIDEO_SUFFIXES))})")
        files += inside
    return files


def _watch_quiet(bundle: Bundle, engine: Engine, files: Sequence[Path], console: Console) -> Quiet:
    found: dict[Path, tuple[float, tuple[OnlineEvent, ...]]] = {}
    with _progress(console, "quiet footage", len(files)) as advance:
        for path in files:
            try:
                traced = trace(engine, path)
            except SourceError as error:
                _tell(console, f"not counted: {path}: {error}")
            else:
                seconds = len(traced.pts_ns) * bundle.spec.window_s
                found[path] = seconds, tuple(events_in(traced, *_rules(bundle)))
            advance(1)
    return Quiet(found)


def _make_films(refs: Sequence[ClipRef], folder: Path, console: Console) -> list[Film]:
    with _progress(console, "joining clips", len(refs)) as advance:
        return make_films(refs, folder, on_clip=lambda: advance(1))


def _read_films(bundle: Bundle, engine: Engine, films: Sequence[Film], console: Console) -> Offline:
    rules, temperature = _rules(bundle)
    with _progress(console, "reading films", len(films)) as advance:
        traces = []
        for film in films:
            traces.append(trace(engine, film.path))
            advance(1)
    events = tuple(tuple(events_in(traced, rules, temperature)) for traced in traces)
    return Offline(EventReport(tuple(films), events), tuple(traces), temperature)


def _play_films(bundle: Bundle, films: Sequence[Film], wanted: Wanted, console: Console) -> LiveReport:
    cameras = wanted.cameras or min(2, os.cpu_count() or 1)
    with Stopper() as stopper, _progress(console, "live, in real time", playing_s(films, cameras)) as advance:
        return watch_live(
            films, bundle.path, engine=wanted.engine, cameras=cameras, stop=stopper.event, on_seconds=advance
        )


def _rules(bundle: Bundle) -> tuple[dict[str, Rules], float]:
    """How the bundle's scores become events, and its temperature."""
    thresholds = Thresholds.parse(bundle.thresholds)
    return thresholds.rules(bundle.spec.actions, {}), thresholds.temperature


def _tell(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _progress(console: Console, what: str, total: float) -> Iterator[Callable[[float], None]]:
    """Gives what is to be called with how much more is done."""
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(TextColumn(what), *columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda amount: progress.advance(task, amount)
