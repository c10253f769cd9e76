"""Checkpoints of a training run: tensors in safetensors, the rest in JSON, written atomically, no pickle.

What happens at a step (data, dropout) depends only on the seed and the step's number, so a checkpoint needs
no random state: a run that goes on from one gives the same losses as a run that was never interrupted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from train.config import TrainError


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{k}": torch.as_tensor(v) for i, entry in state.items() for k, v in entry.items()}


def save_checkpoint(
    path: Path, step: int, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, fingerprint: str
) -> None:
    """Write everything that training needs to go on after `step` finished steps. Old file or new, never half."""
    tensors = {f"model.{k}": v.contiguous() for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v.contiguous() for k, v in average.state_dict().items()}
    tensors |= {k: v.contiguous() for k, v in _optimizer_tensors(optimizer).items()}
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"meta": json.dumps({"step": step, "fingerprint": fingerprint})})
    os.replace(part, path)


def load_weights(path: Path, model: nn.Module) -> None:
    """Start from another run's weights (not its average, which lags behind). Raises TrainError."""
    try:
        with safe_open(path, framework="pt") as file:
            names = [key for key in file.keys() if key.startswith("model.")]  # noqa: SIM118
            model.load_state_dict({key.removeprefix("model."): file.get_tensor(key) for key in names})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainError(f"{path}: cannot start from it: {error}") from error


def load_checkpoint(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, fingerprint: str
) -> int:
    """Restore a run in place and return its number of finished steps.

    Raises TrainError for an unreadable file, or one of another configuration.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["meta"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise TrainError(f"{path}: not a readable checkpoint ({error}); delete it to start anew") from error
    if meta["fingerprint"] != fingerprint:
        raise TrainError(
            f"{path}: belongs to a different configuration; train into another folder, or delete it to start anew"
        )
    for prefix, module in (("model.", model), ("average.", average)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(meta["step"])
