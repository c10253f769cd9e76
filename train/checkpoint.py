"""Checkpoints of a training run: tensors in safetensors, the rest in JSON, written atomically, no pickle.

What happens at a step (data, dropout) depends only on the seed and the step's number, so a checkpoint needs
no random state: a run that goes on from one gives the same losses as a run that was never interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.network.recognizer import Recognizer
from train.config import TrainConfig, TrainError

TOLD = 3  # differences of two configurations that an error names


@dataclass
class Standing:
    """Where a run stands. step: finished ones; validation: what it remembers, see train.validation.

    state: the memory's after `step`, for all sequences of the batch, where the next step goes on with it.
    """

    step: int = 0
    validation: dict[str, Any] = field(default_factory=dict)
    state: list[Tensor] | None = None


@dataclass(frozen=True)
class Learner:
    """A network in training, the average of its weights, and its optimizer."""

    model: Recognizer
    average: Recognizer
    optimizer: torch.optim.Optimizer


def save_checkpoint(path: Path, learner: Learner, standing: Standing, config: TrainConfig) -> None:
    """Write everything that training needs to go on. Old file or new, never half.

    Raises TrainError if it can't be written; the old file is then untouched.
    """
    tensors = {f"model.{k}": v for k, v in learner.model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in learner.average.state_dict().items()}
    for name, p in learner.model.named_parameters():
        tensors |= {f"optimizer.{name}.{k}": torch.as_tensor(v) for k, v in learner.optimizer.state[p].items()}
    tensors |= {f"state.{i}": v for i, v in enumerate(standing.state or ())}
    meta = {"step": standing.step, "validation": standing.validation, "config": config.identity}
    part = path.with_suffix(".part")
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata={"meta": json.dumps(meta)})
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        kept = f"; {path} still holds an earlier step" if path.exists() else ""
        raise TrainError(
            f"{path}: the checkpoint of step {standing.step} can't be written: {error}{kept}. Free some space, then "
            "start the same command again: it goes on"
        ) from error


def load_checkpoint(path: Path, learner: Learner, config: TrainConfig) -> Standing:
    """Restore a run in place.

    Raises TrainError for a file that is unreadable, or of another configuration: then it names what differs.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["meta"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise TrainError(f"{path}: not a readable checkpoint ({error}); delete it to start anew") from error
    if differences := list(_differences(meta.get("config", {}), config.identity)):
        told = "; ".join(differences[:TOLD]) + (f"; and {more} more" if (more := len(differences) - TOLD) > 0 else "")
        raise TrainError(
            f"{path}: belongs to a different configuration ({told}); train into another folder, or delete it to start "
            "anew"
        )
    try:
        learner.model.load_state_dict(_below("model.", tensors))
        learner.average.load_state_dict(_below("average.", tensors))
    except RuntimeError as error:
        raise TrainError(f"{path}: belongs to another network ({error}); train into another folder") from error
    _restore_optimizer(learner, _below("optimizer.", tensors))
    state = _below("state.", tensors)
    return Standing(meta["step"], meta["validation"], [state[str(i)] for i in range(len(state))] or None)


def _restore_optimizer(learner: Learner, tensors: dict[str, Tensor]) -> None:
    names = {p: name for name, p in learner.model.named_parameters()}
    entries: dict[int, dict[str, Tensor]] = {}
    ordered = (p for group in learner.optimizer.param_groups for p in group["params"])
    for index, p in enumerate(ordered):
        if entry := _below(f"{names[p]}.", tensors):
            entries[index] = entry
    groups = learner.optimizer.state_dict()["param_groups"]
    learner.optimizer.load_state_dict({"state": entries, "param_groups": groups})


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those whose name begins with prefix, under the rest of it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _differences(there: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    """Settings that two configurations do not share, in words."""
    for key in sorted(there.keys() | here.keys()):
        if there.get(key) != here.get(key):
            yield f"{key}: {there.get(key, 'default')} there, {here.get(key, 'default')} here"
