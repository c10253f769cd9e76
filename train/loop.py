"""The training loop: sequences of consecutive windows, the memory's state carried from one to the next."""

from __future__ import annotations

import copy
import csv
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from engine.network.recognizer import Recognizer
from train.checkpoint import load_checkpoint, load_weights, save_checkpoint
from train.config import OptimConfig, TrainConfig, TrainError
from train.data.sequences import SequenceDataset

IGNORE = -1


class StepLoss(NamedTuple):
    loss: Tensor
    accuracy: float


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay on matrices and kernels only: none on norms, biases, position-bias tables and gains."""
    decay: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, p in model.named_parameters():
        (plain if p.ndim < 2 or "position_bias" in name else decay).append(p)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def learning_rate(step: int, total: int, optim: OptimConfig) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(1, total - optim.warmup_steps)
    return optim.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def sequence_loss(logits: Tensor, target: Tensor, weight: Tensor, smoothing: float) -> Tensor:
    """Cross entropy of every step. logits [N,L,S,K+1], target int64 [N,L,S] (-1: not counted), weight [N,L,S]."""
    flat = F.cross_entropy(
        logits.flatten(0, 2), target.flatten(), ignore_index=IGNORE, reduction="none", label_smoothing=smoothing
    )
    counted = weight.flatten() * (target.flatten() != IGNORE)
    return (flat * counted).sum() / counted.sum().clamp(min=1)


def pick_device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainError("device: cuda was asked for, but torch sees no CUDA device; use cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights; buffers (batch-norm statistics) are copied."""
    with torch.no_grad():
        for a, p in zip(average.parameters(), model.parameters(), strict=True):
            a.lerp_(p, 1 - decay)
        for kept, buffer in zip(average.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)


def _batches(config: TrainConfig, start: int) -> Iterator[dict[str, Tensor]]:
    steps = range(start, config.steps)
    loader = DataLoader(
        SequenceDataset(config),
        batch_sampler=[[(step, i) for i in range(config.phase_at(step).batch)] for step in steps],
        num_workers=config.workers,
        multiprocessing_context="spawn" if config.workers else None,
        prefetch_factor=4 if config.workers else None,
    )
    return iter(loader)


def train(config: TrainConfig, run: Path, console: Console) -> Recognizer:
    """Train, or go on training, in the folder `run`; returns the averaged network, in evaluation mode.

    Raises TrainError for a mistake in the data or the folder, and when the loss is no longer a number: the last
    checkpoint, written before, is then still good.
    """
    run.mkdir(parents=True, exist_ok=True)
    fingerprint = config.fingerprint
    device = pick_device(config.device)
    torch.manual_seed(config.seed)
    model = Recognizer(config.model, drop_path=config.optim.drop_path, dropout=config.optim.dropout).to(device)
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(parameter_groups(model, config.optim.weight_decay), lr=config.optim.lr)
    last = run / "last.safetensors"
    if last.exists():
        start = load_checkpoint(last, model, average, optimizer, fingerprint)
    else:
        start = 0
        if config.start is not None:
            load_weights(Path(config.start), model)
            average.load_state_dict(model.state_dict())
    if start:
        console.print(f"going on from step {start} of {config.steps} in {run}")

    columns = ("step", "loss", "accuracy", "lr")
    with (
        open(run / "metrics.csv", "a", buffering=1, newline="", encoding="utf-8") as file,
        Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.2f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        ) as progress,
    ):
        log = csv.writer(file)
        if file.tell() == 0:
            log.writerow(columns)
        task = progress.add_task("", total=config.steps, completed=start, loss=math.nan, accuracy=math.nan)
        step = start
        for batch in _batches(config, start) if start < config.steps else ():
            torch.manual_seed(config.seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config.steps, config.optim)
            result = train_step(model, optimizer, batch, config.optim, device)
            if not math.isfinite(float(result.loss)):
                raise TrainError(
                    f"the loss is {float(result.loss)} at step {step}: training stopped. {last} holds the last good "
                    "state; a smaller optim.lr usually helps"
                )
            # A plain mean of early weights would remember the random start, so the average starts short.
            update_average(average, model, min(config.optim.ema, (step + 1) / (step + 10)))
            step += 1
            log.writerow([step, f"{float(result.loss):.6f}", f"{result.accuracy:.4f}", optimizer.param_groups[0]["lr"]])
            progress.update(task, completed=step, loss=float(result.loss), accuracy=result.accuracy)
            if step % config.checkpoint_every == 0 or step == config.steps:
                file.flush()
                os.fsync(file.fileno())
                save_checkpoint(last, step, model, average, optimizer, fingerprint)
    return average


def train_step(
    model: Recognizer,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    optim: OptimConfig,
    device: torch.device,
) -> StepLoss:
    """One step on sequences: picture [N,L,Tp,H,W,3], flow [N,L,Tf,2,H,W], target and weight [N,L,S]."""
    model.train()
    data = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
    mixed = device.type == "cuda"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
        out = model.forward_sequence(data["picture"], data["flow"])
    loss = sequence_loss(out.logits.float(), data["target"], data["weight"], optim.label_smoothing)
    if optim.aux_weight:
        stateless = sequence_loss(out.stateless.float(), data["target"], data["weight"], optim.label_smoothing)
        loss = loss + optim.aux_weight * stateless
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), optim.grad_clip)
    optimizer.step()
    counted = data["target"] != IGNORE
    right = (out.logits.argmax(-1) == data["target"])[counted]
    return StepLoss(loss.detach(), float(right.float().mean()))
