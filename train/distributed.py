"""Training in several processes, on one machine or many, started by torchrun: gloo between CPUs, nccl between GPUs.

A step's batch is divided among the processes by index. So that they compute what one process computes from the whole
batch, losses are divided by the weight of the whole batch, and batch norm takes its statistics over all processes
(torch's SyncBatchNorm does it on GPUs only). Dropout and stochastic depth still draw masks of their own in each
process: with them on, two processes train like one, but not to the same digits.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")

TIMEOUT = timedelta(hours=4)  # the others wait while the first one of a machine decodes every clip


class Ranks(NamedTuple):
    """This process among all of a run: number `rank` of `world`, number `local` on its machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def from_environment(cls) -> Ranks:
        """As torchrun tells it; one process alone without torchrun."""
        rank, world, local = (
            int(os.environ.get(name, d)) for name, d in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
        )
        return cls(rank, world, local)

    @property
    def first(self) -> bool:
        """The one that writes files and talks."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Which of `count` things are this process's: neighbours, and as many as the others' or one more or less."""
        return range(self.rank * count // self.world, (self.rank + 1) * count // self.world)


@contextlib.contextmanager
def connected(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """While inside, the processes of a run can reach each other. Does nothing for one alone."""
    if ranks.world == 1:
        yield
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT, device_id=device if device.type == "cuda" else None)
    try:
        yield
    finally:
        dist.destroy_process_group()


def total(ranks: Ranks, value: Tensor) -> Tensor:
    """The sum of every process's tensor, detached. One process: the same tensor."""
    if ranks.world == 1:
        return value.detach()
    value = value.detach().clone()
    dist.all_reduce(value)
    return value


def gathered(ranks: Ranks, mine: T) -> list[T]:
    """What every process has, in order of rank."""
    if ranks.world == 1:
        return [mine]
    everyone: list[Any] = [None] * ranks.world
    dist.all_gather_object(everyone, mine)
    return everyone


class _Sum(torch.autograd.Function):
    """The sum over all processes, in whose sum of losses every process has its part: so are the gradients summed."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class GlobalBatchNorm3d(nn.BatchNorm3d):
    """BatchNorm3d that takes its statistics over the samples of all processes; in evaluation no different."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, D, H, W], N may differ from process to process."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        maps = x.float()
        places = x.new_full((1,), x.numel() / x.shape[1], dtype=torch.float32)
        sums = _sum(torch.cat((maps.sum((0, 2, 3, 4)), places)))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        centred = maps - mean[:, None, None, None]
        variance = _sum(centred.square().sum((0, 2, 3, 4))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        y = centred * scale[:, None, None, None] + self.bias[:, None, None, None]
        return y.to(x.dtype)


def _sum(value: Tensor) -> Tensor:
    summed: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return summed


def share_statistics(model: nn.Module) -> None:
    """Put a GlobalBatchNorm3d with the same parameters and statistics in the place of every BatchNorm3d of `model`."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm3d:
                norm = GlobalBatchNorm3d(child.num_features, child.eps, child.momentum)
                norm.load_state_dict(child.state_dict())
                norm.to(child.weight.device)
                norm.weight, norm.bias = child.weight, child.bias  # the very ones that an optimizer holds
                setattr(module, name, norm)
