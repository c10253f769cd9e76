"""Cross-validation: train without some groups, measure on them, go on to the next. Every part of it resumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sklearn.model_selection import StratifiedGroupKFold

from train.config import FoldsConfig, TrainConfig, TrainError
from train.data.clips import ClipRef
from train.data.split import find_split
from train.evaluate import ClipReport, evaluate_clips, wilson
from train.loop import train
from train.torch_engine import TorchEngine

RESULT = "left-out.json"
SEED = 0  # of the folds that are dealt


@dataclass(frozen=True)
class Fold:
    """name: of its folder. groups: left out of training, and then measured on."""

    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class FoldResult:
    """clips: path, true label and recognized label of every left-out clip."""

    fold: Fold
    clips: tuple[tuple[str, str, str], ...]

    @property
    def right(self) -> int:
        return sum(truth == told for _, truth, told in self.clips)


def find_folds(config: FoldsConfig, refs: Sequence[ClipRef]) -> list[Fold]:
    """The folds to run. Raises TrainError for a group that no clip has, or fewer groups than folds."""
    known = {ref.group for ref in refs}
    if config.leave_out:
        if unknown := {group for groups in config.leave_out for group in groups} - known:
            raise TrainError(f"folds.leave_out: no clip is of group {sorted(unknown)}")
        return [Fold("-".join(groups), groups) for groups in config.leave_out]
    if len(known) < config.count:
        raise TrainError(f"folds.count is {config.count}, but there are only {len(known)} groups")
    ordered = sorted(refs, key=lambda ref: ref.path)
    dealer = StratifiedGroupKFold(config.count, shuffle=True, random_state=SEED)
    dealt = dealer.split(ordered, [ref.label for ref in ordered], [ref.group for ref in ordered])
    folds = [Fold(str(i), tuple(sorted({ordered[n].group for n in held}))) for i, (_, held) in enumerate(dealt)]
    return [folds[i] for i in config.only or range(config.count)]


def run_folds(config: TrainConfig, run: Path, console: Console) -> list[FoldResult]:
    """Train and measure every fold below `run`; a fold that is done is read back. Raises what `train` raises."""
    if config.folds is None:
        raise TrainError("the configuration names no folds: add `folds: {leave_out: [[group], ...]}` or `{count: 5}`")
    if config.data.validate_groups or config.data.validate_share:
        raise TrainError("folds: a configuration that also holds out clips to validate on is not cross-validated")
    refs = find_split(config.data, config.model.actions).train
    folds = find_folds(config.folds, refs)
    results = []
    for number, fold in enumerate(folds, 1):
        console.print(f"fold {number} of {len(folds)}: without {fold.name if fold.name.isdigit() else fold.groups}")
        results.append(_run_fold(config, fold, [ref for ref in refs if ref.group in fold.groups], run, console))
    return results


def without(config: TrainConfig, fold: Fold) -> TrainConfig:
    """The configuration that trains on all but a fold's groups."""
    data = config.data.model_copy(update={"exclude_groups": (*config.data.exclude_groups, *fold.groups)})
    return config.model_copy(update={"data": data})


def fold_folder(run: Path, fold: Fold) -> Path:
    return run / f"fold-{fold.name}"


def _run_fold(config: TrainConfig, fold: Fold, left_out: list[ClipRef], run: Path, console: Console) -> FoldResult:
    config, folder = without(config, fold), fold_folder(run, fold)
    file = folder / RESULT
    if file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["identity"] == config.identity:
            return FoldResult(fold, tuple((path, truth, told) for path, truth, told in kept["clips"]))
    result = FoldResult(fold, _told(evaluate_clips(TorchEngine(train(config, folder, console).cpu().eval()), left_out)))
    part = file.with_suffix(".part")
    part.write_text(json.dumps({"identity": config.identity, "clips": result.clips}, indent=1), encoding="utf-8")
    part.replace(file)
    return result


def _told(report: ClipReport) -> tuple[tuple[str, str, str], ...]:
    """A clip that could not be read counts as not recognized."""
    rows = [(_name(r.ref), r.ref.label, report.labels[int(r.scores.argmax())]) for r in report.results]
    rows += [(_name(ref), ref.label, "unreadable") for ref, _ in report.unreadable]
    return tuple(rows)


def _name(ref: ClipRef) -> str:
    return f"{ref.label}/{ref.path.name}"


def show_folds(results: Sequence[FoldResult], console: Console) -> None:
    """A table of the folds, the clips that went wrong, and the whole with its confidence interval."""
    table = Table(title="left-out clips recognized")
    for column in ("fold", "clips", "right", "share", "wrong"):
        table.add_column(column, justify="left" if column in {"fold", "wrong"} else "right")
    for result in results:
        wrong = ", ".join(f"{Path(path).stem}: {told}" for path, truth, told in result.clips if told != truth)
        count = len(result.clips)
        table.add_row(result.fold.name, str(count), str(result.right), f"{result.right / count:.1%}", wrong)
    console.print(table)
    right, total = sum(result.right for result in results), sum(len(result.clips) for result in results)
    low, high = wilson(right, total)
    console.print(f"{right} of {total} clips, {right / total:.1%} (95 % interval {low:.1%} to {high:.1%})")
