"""The training loop: sequences of consecutive windows, the memory's state carried from one to the next."""

from __future__ import annotations

import contextlib
import copy
import math
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from engine.network.recognizer import Recognizer
from train.batches import StepBatch, batches, check_batches
from train.checkpoint import Learner, Standing, load_checkpoint, save_checkpoint
from train.config import TrainConfig, TrainError
from train.data.cache import cache_folder
from train.data.clips import ClipRef
from train.data.prepare import write_skipped
from train.data.sequences import SequenceDataset
from train.data.split import find_split
from train.device import pick_device, pick_precision
from train.distributed import Ranks, connected, gathered
from train.environment import describe
from train.evaluate import ClipReport
from train.metrics import Metrics
from train.optimizer import make_optimizer, update_average
from train.probe import fit_classifier
from train.run_folder import RunFolder
from train.start import load_start
from train.stepper import DivergedError, Stepper
from train.validation import Validation, clip_loss

TOLD = 8  # clips of a batch that an error names


def train(config: TrainConfig, path: Path, console: Console) -> Recognizer:
    """Train, or go on training, in the folder `path`; returns the averaged network, in evaluation mode.

    Under torchrun every process calls it; the first writes the folder, and what it returns counts. Raises TrainError
    for a mistake in the data or the folder, and when the loss is no longer a number: the last checkpoint, written
    before, is then still good.
    """
    ranks = Ranks.from_environment()
    device = pick_device(config, ranks.local)
    folder = RunFolder(path)
    with folder.locked() if ranks.first else contextlib.nullcontext(), connected(ranks, device):
        return _train(config, folder, ranks, device, console)


def _train(config: TrainConfig, folder: RunFolder, ranks: Ranks, device: torch.device, console: Console) -> Recognizer:
    check_batches(config, ranks)
    dataset = _dataset(config, ranks, console)
    validation = Validation(config, _held_out(config), ranks)
    torch.manual_seed(config.seed)
    model = Recognizer(config.model, drop_path=config.optim.drop_path, dropout=config.optim.dropout).to(device)
    average = copy.deepcopy(model).eval()
    learner = Learner(model, average, make_optimizer(model, config.optim))
    standing = _begin(config, folder, learner, ranks, console)
    validation.recall(standing.validation)

    precision = pick_precision(config.precision, device)
    stepper = Stepper(model, learner.optimizer, config, ranks, precision)
    if standing.state is not None:
        share = ranks.share(config.phase_at(standing.step).batch)
        stepper.state = [tensor[share.start : share.stop].to(device) for tensor in standing.state]
    if ranks.first:
        folder.describe(config, describe(device, precision, ranks.world))
        write_skipped(folder.path / "skipped.csv", dataset.skipped)

    with (
        _bar(console) as bar,
        Metrics(folder.path, standing.step) if ranks.first else contextlib.nullcontext() as metrics,
    ):
        task = bar.add_task("", total=config.steps, completed=standing.step, loss=math.nan, accuracy=math.nan)
        for batch in batches(dataset, config, ranks, standing.step) if not validation.is_over else ():
            try:
                result = stepper.step(batch)
            except DivergedError as error:
                raise TrainError(_diverged(error, batch, dataset, folder, ranks)) from error
            step = batch.step + 1
            # A plain mean of early weights would remember the random start, so the average starts short.
            update_average(average, model, min(config.optim.ema, step / (step + 9)))
            report = validation.measure(average) if validation.is_due(step) else None
            better = report is not None and validation.is_better(report)
            if metrics is not None:
                metrics.row(step, result._asdict() | (_measured(report) if report else {}))
            bar.update(task, completed=step, loss=result.loss, accuracy=result.accuracy)
            if report is not None or step % config.checkpoint_every == 0 or step == config.steps:
                standing = Standing(step, validation.memory, _whole_state(stepper, config, ranks, step))
                if metrics is not None:
                    metrics.sync()
                    if better:  # before the last one, which remembers that it was
                        save_checkpoint(folder.best, learner, standing, config)
                    save_checkpoint(folder.last, learner, standing, config)
            if report is not None and ranks.first:
                _tell(report, step, console)
                if better or config.validation.keep == "last":
                    folder.write_confusion(report)
                folder.draw_curves()
            if validation.is_over:
                console.print(f"stopped at step {step}: no better validation for {config.validation.patience}")
                break
    if ranks.first:
        folder.draw_curves()
        if config.validation.keep == "best":
            load_checkpoint(folder.best, learner, config)
    return average


def _dataset(config: TrainConfig, ranks: Ranks, console: Console) -> SequenceDataset:
    """The clips, decoded by the first process of each machine."""
    if ranks.local:
        gathered(ranks, None)
        return SequenceDataset(config)
    dataset = SequenceDataset(config, console)
    gathered(ranks, None)
    return dataset


def _held_out(config: TrainConfig) -> list[ClipRef]:
    """The clips to validate on."""
    refs = find_split(config.data, config.model.actions).validation
    if not refs and (config.validation.patience is not None or config.validation.keep == "best"):
        raise TrainError("validation: to stop early or keep the best, clips must be held out: see data.validate_share")
    return refs


def _begin(config: TrainConfig, folder: RunFolder, learner: Learner, ranks: Ranks, console: Console) -> Standing:
    """Go on from the folder's last checkpoint, or begin: with random weights, or those of `start`."""
    standing = Standing()
    if folder.last.exists():
        standing = load_checkpoint(folder.last, learner, config)
        console.print(f"going on from step {standing.step} of {config.steps} in {folder.path}")
    elif config.start is not None:
        for line in load_start(config.start, learner.model).lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if config.probe is not None:
            split, cache = find_split(config.data, config.model.actions), cache_folder(config.data.cache)
            with Progress(console=console) as progress:
                fitted = fit_classifier(learner.model, split.train, split.quiet, cache, config.probe, progress)
            console.print(f"classifier {fitted}", highlight=False)
        learner.average.load_state_dict(learner.model.state_dict())
    if len(steps := set(gathered(ranks, standing.step))) > 1:
        raise TrainError(
            f"{folder.path}: the processes find checkpoints of different steps there ({sorted(steps)}); the run's "
            "folder must be on a disk that all machines share"
        )
    return standing


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.2f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _measured(report: ClipReport) -> dict[str, float]:
    return {
        "validation_loss": clip_loss(report),
        "validation_top1": report.top1,
        "validation_mean_class": report.mean_class,
    }


def _tell(report: ClipReport, step: int, console: Console) -> None:
    console.print(
        f"validation at step {step}: top-1 {report.top1:.1%}, mean per class {report.mean_class:.1%}, "
        f"loss {clip_loss(report):.3f} on {len(report.results)} clips",
        highlight=False,
    )
    for ref, why in report.unreadable:
        console.print(f"not counted: {ref.path}: {why}", markup=False, highlight=False, soft_wrap=True)


def _whole_state(stepper: Stepper, config: TrainConfig, ranks: Ranks, step: int) -> list[Tensor] | None:
    """The memory's state for the whole batch, on the CPU, if step number `step` goes on with it."""
    if stepper.state is None or step == config.steps or config.sequence_start(step) == step:
        return None
    parts = gathered(ranks, [tensor.cpu() for tensor in stepper.state])
    return [torch.cat(tensors) for tensors in zip(*parts, strict=True)]


def _diverged(error: DivergedError, batch: StepBatch, dataset: SequenceDataset, folder: RunFolder, ranks: Ranks) -> str:
    """What to tell of it, once the curves up to it are drawn."""
    mine = [str(ref.path) for place in batch.places for ref in dataset.clips(place)]
    paths = sorted({path for share in gathered(ranks, mine) for path in share})
    if ranks.first:
        folder.draw_curves()
    kept = f"{folder.last} holds the last good state" if folder.last.exists() else "there is no checkpoint yet"
    more = f" and {len(paths) - TOLD} more" if len(paths) > TOLD else ""
    clips = ", ".join(paths[:TOLD]) or "the drawn actor alone"
    return (
        f"{error} at step {batch.step}, with {clips}{more}: training stopped. {kept}; a smaller optim.lr usually helps"
    )
