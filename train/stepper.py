"""Stepper: one step of the optimizer on a batch, in parts if need be, together with the other processes."""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from engine.network.recognizer import Recognizer
from train.batches import StepBatch
from train.config import TrainConfig
from train.distributed import Ranks, share_statistics, total
from train.objective import IGNORE, Objective
from train.optimizer import learning_rate, set_learning_rate

State = list[Tensor]


class DivergedError(Exception):
    """Loss or gradients are no numbers any more; the weights are still those before the step."""


class StepResult(NamedTuple):
    """loss and accuracy (share of the steps asked) of the whole batch, all processes together; lr: the rate used."""

    loss: float
    accuracy: float
    lr: float


class Stepper:
    """Holds what changes from step to step. `state`: the memory's at the end of the last step, None at a boundary."""

    def __init__(
        self,
        model: Recognizer,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        ranks: Ranks,
        precision: torch.dtype,
    ) -> None:
        self._model, self._optimizer, self._config, self._ranks = model, optimizer, config, ranks
        self._device = model.head.weight.device
        objective = Objective(model, config.optim, precision, stateless=config.stateless)
        self._objective: nn.Module = objective
        if ranks.world > 1:
            share_statistics(model)
            self._objective = DistributedDataParallel(
                objective, forward_sync_buffers=False, find_unused_parameters=objective.has_idle_head
            )
        self.state: State | None = None

    def step(self, step_batch: StepBatch) -> StepResult:
        """One step on this process's share of a batch. Raises DivergedError."""
        optim, ranks = self._config.optim, self._ranks
        number, batch = step_batch.step, step_batch.sequences
        if not step_batch.goes_on:
            self.state = None
        torch.manual_seed(self._config.seed * 1_000_003 + number + (ranks.rank << 40))
        rate = learning_rate(number, self._config.steps, optim)
        set_learning_rate(self._optimizer, rate)
        masses = list(total(ranks, torch.stack([a.mass for a in batch.answers]).to(self._device)))
        asked = (batch.answers[0].target != IGNORE).sum()

        self._model.train()
        self._optimizer.zero_grad(set_to_none=True)
        loss, right, states = torch.zeros((), device=self._device), 0, []
        rows = len(batch.picture)
        parts = [
            slice(i * rows // optim.accumulate, (i + 1) * rows // optim.accumulate) for i in range(optim.accumulate)
        ]
        for part in parts:
            state = None if self.state is None else [tensor[part] for tensor in self.state]
            with self._gathering(part is parts[-1]):
                outcome = self._objective(batch.part(part, slice(None)).to(self._device), masses, state)
                # DistributedDataParallel takes the mean of gradients, where their sum is wanted.
                (outcome.loss * ranks.world).backward()
            loss = loss + outcome.loss.detach()
            right = right + outcome.right
            states.append(outcome.state)
        self.state = [torch.cat(tensors) for tensors in zip(*states, strict=True)]

        sums = total(ranks, torch.stack((loss, torch.as_tensor(right), asked.to(self._device))).double())
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), optim.grad_clip)
        value = float(sums[0])
        if not math.isfinite(value):
            raise DivergedError(f"the loss is {value}")
        if not torch.isfinite(norm):
            raise DivergedError(f"the gradients' norm is {float(norm)}")
        self._optimizer.step()
        return StepResult(value, float(sums[1] / sums[2].clamp(min=1)), rate)

    def _gathering(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients go round the processes once a step, with its last part."""
        if last or not isinstance(self._objective, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._objective.no_sync()
