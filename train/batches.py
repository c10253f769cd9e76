"""Batches: for every step, this process's share of its sequences, made ahead by worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import DataLoader

from train.config import TrainConfig, TrainError
from train.data.sequences import SequenceDataset
from train.distributed import Ranks
from train.objective import Answers, Sequences, mixed

PREFETCHED = 4  # batches that each worker makes ahead


class StepBatch(NamedTuple):
    """goes_on: the windows follow those of the step before, whose state is theirs. places: (step, i) of each item."""

    step: int
    sequences: Sequences
    goes_on: bool
    places: list[tuple[int, int]]


def check_batches(config: TrainConfig, ranks: Ranks) -> None:
    """Raises TrainError if a phase has fewer sequences a step than there are processes times parts."""
    smallest = min(phase.batch for phase in config.phases)
    if smallest < (parts := ranks.world * config.optim.accumulate):
        raise TrainError(
            f"a batch of {smallest} sequences can't be divided into {parts} parts ({ranks.world} processes, "
            f"optim.accumulate {config.optim.accumulate}): a larger batch or fewer of them"
        )


def batches(dataset: SequenceDataset, config: TrainConfig, ranks: Ranks, start: int) -> Iterator[StepBatch]:
    """From step `start` to the last, in order: the same whether training was interrupted or not."""
    firsts = sorted({config.sequence_start(step) for step in range(start, config.steps)})
    places = {first: [(first, i) for i in ranks.share(config.phase_at(first).batch)] for first in firsts}
    loader = DataLoader(
        dataset,
        batch_sampler=list(places.values()),
        num_workers=config.workers,
        multiprocessing_context="spawn" if config.workers else None,
        prefetch_factor=PREFETCHED if config.workers else None,
    )
    step = start
    for first, data in zip(firsts, loader, strict=True):
        whole = _sequences(data)
        if config.optim.mixup:
            whole = mixed(whole, config.optim.mixup, config.seed, first)
        windows = config.phase_at(first).windows
        while step < config.steps and config.sequence_start(step) == first:
            begin = (step - first) * windows
            part = whole.part(slice(None), slice(begin, begin + windows))
            yield StepBatch(step, part, step > first, places[first])
            step += 1


def _sequences(data: dict[str, Tensor]) -> Sequences:
    return Sequences(data["picture"], data["flow"], data["reset"], (Answers(data["target"], data["weight"]),))
