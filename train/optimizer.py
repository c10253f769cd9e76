"""AdamW as the paper uses it: groups of parameters, the rate over time, and the average of the weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from train.config import OptimConfig

# What is learned from the start where a backbone was trained before. Cells inside blocks belong to the backbone, as
# in the published configuration.
HEADS = ("head.", "memory.", "memory_head.")


def make_optimizer(model: nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`."""
    return torch.optim.AdamW(parameter_groups(model, optim), lr=optim.lr)


def parameter_groups(model: nn.Module, optim: OptimConfig) -> list[dict[str, object]]:
    """Heads and backbone, each with and without weight decay; `lr_factor` is the group's factor on the rate.

    Decay falls on matrices and kernels only: none on norms, biases, position-bias tables and gains.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        decays = p.ndim >= 2 and "position_bias" not in name
        groups.setdefault((name.startswith(HEADS), decays), []).append(p)
    return [
        {
            "params": params,
            "weight_decay": optim.weight_decay if decays else 0.0,
            "lr_factor": 1.0 if head else optim.backbone_lr,
        }
        for (head, decays), params in groups.items()
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]


def learning_rate(step: int, total: int, optim: OptimConfig) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(1, total - optim.warmup_steps)
    return optim.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights; buffers (batch-norm statistics) are copied."""
    with torch.no_grad():
        for a, p in zip(average.parameters(), model.parameters(), strict=True):
            a.lerp_(p, 1 - decay)
        for kept, buffer in zip(average.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)
