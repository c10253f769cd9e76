"""The training commands: train, evaluate. Each returns an exit code: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from engine.bundle import Bundle
from engine.runtime.choose import choose_engine
from stream.commands import FAILED, OK, USAGE, guarded, say
from stream.failure import SourceError
from train.config import TrainError, load_train_config
from train.data.clips import find_clips
from train.evaluate import ClipReport, evaluate_clips


def train(config_path: Path, run: Path | None) -> int:
    """`swinstream train`."""
    err = Console(stderr=True)
    with guarded(err) as code:
        try:
            from train.bundle import make_bundle
            from train.loop import train as loop
        except ModuleNotFoundError as error:
            err.print(f"swinstream: training needs {error.name}: pip install 'swinstream[train]'", style="red")
            return USAGE
        try:
            config = load_train_config(config_path)
        except TrainError as error:
            return say(err, error, USAGE)
        try:
            folder = run or Path("runs") / config.model.name
            model = loop(config, folder, err)
            bundle = make_bundle(model, config, folder / "bundle")
            err.print(f"bundle: {bundle.path}")
        except (TrainError, SourceError, RuntimeError) as error:
            if (told := _failure(error)) is None:
                raise
            return say(err, told, FAILED)
    return code[0]


def _failure(error: Exception) -> str | None:
    """What to tell of an error in training; None: it is a mistake of ours.

    torch raises what happened in a process that prepares data again here, with that process's traceback as its
    text, and as a RuntimeError where it cannot make the original: the last line then says what it was.
    """
    last = str(error).strip().rpartition("\n")[2]
    if " in DataLoader worker process " not in str(error):
        return None if isinstance(error, RuntimeError) else str(error)
    name, _, text = last.partition(": ")
    told = name.rpartition(".")[2] in {TrainError.__name__, SourceError.__name__}
    return text if told else None


def evaluate(name: str, data: Path, groups: Sequence[str], as_json: bool) -> int:
    """`swinstream evaluate`."""
    err = Console(stderr=True)
    with guarded(err) as code:
        bundle = Bundle.load(name)
        try:
            present = tuple(label for label in bundle.spec.labels if (data / label).is_dir())
            refs = find_clips(data, present or bundle.spec.actions)
            if groups and not (refs := [ref for ref in refs if ref.group in groups]):
                raise TrainError(f"{data}: no clips of group {', '.join(groups)}")
        except TrainError as error:
            return say(err, error, USAGE)
        engine = choose_engine(bundle)
        try:
            with Progress(console=err, transient=True) as progress:
                task = progress.add_task("evaluating", total=len(refs))
                report = evaluate_clips(engine, refs, lambda: progress.advance(task))
        finally:
            engine.close()
        for ref, why in report.unreadable:
            err.print(f"not counted: {ref.path}: {why}", markup=False, soft_wrap=True)
        if not report.results:
            err.print("swinstream: no clip could be read", style="red")
            return FAILED
        _show(report, as_json)
        code[0] = OK
    return code[0]


def _show(report: ClipReport, as_json: bool) -> None:
    numbers = {"clips": len(report.results), "top1": report.top1, "top5": report.top5, "mean_class": report.mean_class}
    if as_json:
        sys.stdout.write(json.dumps(numbers) + "\n")
        return
    matrix = report.confusion()
    table = Table(title="clips by true label (row) and recognized label (column)", title_justify="left")
    table.add_column("")
    for label in report.labels:
        table.add_column(label, justify="right")
    for label, row in zip(report.labels, matrix, strict=True):
        if row.sum():
            table.add_row(label, *(str(n) if n else "" for n in row))
    out = Console(highlight=False)
    out.print(table)
    fractions = f"top-1 {report.top1:.1%}, top-5 {report.top5:.1%}, mean per class {report.mean_class:.1%}"
    out.print(f"{numbers['clips']} clips: {fractions}")
