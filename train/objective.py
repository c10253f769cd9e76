"""The objective: what a network's answers to sequences cost, whole or a process's part of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.network.recognizer import Recognizer
from train.config import OptimConfig

IGNORE = -1  # as a target: nothing is asked of this step

MIXUP_STREAM = 2**31  # its own stream of random numbers beside those of the sequences, which count from 0


class Answers(NamedTuple):
    """What is right: target int64 [N,L,S] (IGNORE: not asked), weight float32 [N,L,S], share of it in the loss."""

    target: Tensor
    weight: Tensor
    share: float = 1.0

    @property
    def mass(self) -> Tensor:
        """Sum of the weights that count."""
        return (self.weight * (self.target != IGNORE)).sum()


class Sequences(NamedTuple):
    """picture uint8 [N,L,Tp,H,W,3], flow float16 [N,L,Tf,2,H,W], reset bool [N,L]: state is zeroed before the window.

    answers: one, or two of mixed sequences.
    """

    picture: Tensor
    flow: Tensor
    reset: Tensor
    answers: tuple[Answers, ...]

    def part(self, rows: slice, windows: slice) -> Sequences:
        """Some of the sequences, some of their windows."""
        cut = (rows, windows)
        answers = tuple(Answers(a.target[cut], a.weight[cut], a.share) for a in self.answers)
        return Sequences(self.picture[cut], self.flow[cut], self.reset[cut], answers)

    def to(self, device: torch.device) -> Sequences:
        answers = (
            Answers(a.target.to(device, non_blocking=True), a.weight.to(device, non_blocking=True), a.share)
            for a in self.answers
        )
        picture, flow, reset = (
            tensor.to(device, non_blocking=True) for tensor in (self.picture, self.flow, self.reset)
        )
        return Sequences(picture, flow, reset, tuple(answers))


def mixed(batch: Sequences, alpha: float, seed: int, step: int) -> Sequences:
    """mixup (Zhang et al., 2018): each sequence and its neighbour in the batch, pictures, flow and answers.

    All by one share, drawn from Beta(alpha, alpha) by seed and step.
    """
    share = float(np.random.default_rng([seed, step, MIXUP_STREAM]).beta(alpha, alpha))
    (own,) = batch.answers
    picture = torch.lerp(batch.picture.roll(1, 0).float(), batch.picture.float(), share)
    flow = torch.lerp(batch.flow.roll(1, 0).float(), batch.flow.float(), share)
    others = Answers(own.target.roll(1, 0), own.weight.roll(1, 0), 1 - share)
    answers = (own._replace(share=share), others)
    return Sequences(picture.round().to(torch.uint8), flow.half(), batch.reset, answers)


def sequence_loss(logits: Tensor, answers: Answers, smoothing: float, mass: Tensor | None = None) -> Tensor:
    """Cross entropy of every step that is asked, by weight. logits float32 [N,L,S,K+1].

    mass: what the weighted sum is divided by; None: the mass of these answers alone.
    """
    flat = F.cross_entropy(
        logits.flatten(0, 2), answers.target.flatten(), ignore_index=IGNORE, reduction="none", label_smoothing=smoothing
    )
    counted = answers.weight.flatten() * (answers.target.flatten() != IGNORE)
    return (flat * counted).sum() / (counted.sum() if mass is None else mass).clamp(min=1)


class Outcome(NamedTuple):
    """loss to differentiate; right: how many steps that were asked are recognized; the state afterwards."""

    loss: Tensor
    right: Tensor
    state: list[Tensor]


class Objective(nn.Module):
    """A network with its loss in one module, as DistributedDataParallel needs it.

    precision: of products and convolutions. stateless: the state is zeroed before every window.
    """

    def __init__(self, model: Recognizer, optim: OptimConfig, precision: torch.dtype, *, stateless: bool) -> None:
        super().__init__()
        self.model = model
        self._optim, self._precision, self._stateless = optim, precision, stateless

    @property
    def has_idle_head(self) -> bool:
        """Whether the stateless head is there, but no part of the loss."""
        network = self.model.spec.network
        return network.memory == "head" and network.memory_mode == "replace" and not self._optim.aux_weight

    def forward(self, batch: Sequences, masses: list[Tensor], state: list[Tensor] | None) -> Outcome:
        """masses: for each of the batch's answers, what its loss is divided by. state: None is zeros."""
        optim = self._optim
        reset = torch.ones_like(batch.reset) if self._stateless else batch.reset
        with torch.autocast(reset.device.type, dtype=torch.bfloat16, enabled=self._precision == torch.bfloat16):
            out = self.model.forward_sequence(batch.picture, batch.flow, state, reset)
        logits, stateless = out.logits.float(), out.stateless.float()
        losses = []
        for answers, mass in zip(batch.answers, masses, strict=True):
            loss = sequence_loss(logits, answers, optim.label_smoothing, mass)
            if optim.aux_weight:
                loss = loss + optim.aux_weight * sequence_loss(stateless, answers, optim.label_smoothing, mass)
            losses.append(answers.share * loss)
        target = batch.answers[0].target
        right = ((logits.argmax(-1) == target) & (target != IGNORE)).sum()
        return Outcome(torch.stack(losses).sum(), right, [tensor.detach() for tensor in out.state])
