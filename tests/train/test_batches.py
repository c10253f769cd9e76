from __future__ import annotations

from typing import Any

import pytest
import torch

from train.batches import batches, check_batches
from train.config import TrainConfig, TrainError
from train.data.sequences import SequenceDataset
from train.distributed import Ranks


@pytest.fixture
def config(settings: dict[str, Any]) -> TrainConfig:
    settings["phases"] = [
        {"steps": 1, "batch": 2, "mix": {"drawn": 1.0}},
        {"steps": 3, "batch": 3, "windows": 1, "carry_steps": 2, "mix": {"drawn": 1.0}},
    ]
    return TrainConfig.model_validate(settings)


def test_steps_that_share_a_sequence_see_one_part_each(config: TrainConfig) -> None:
    dataset = SequenceDataset(config)
    found = list(batches(dataset, config, Ranks(), 0))
    assert [(b.step, b.goes_on, b.places[0]) for b in found] == [
        (0, False, (0, 0)),
        (1, False, (1, 0)),
        (2, True, (1, 0)),
        (3, False, (3, 0)),
    ]
    whole = dataset[1, 2]["picture"]
    assert torch.equal(torch.cat([b.sequences.picture[2] for b in found[1:3]]), whole)
    (resumed, _) = batches(dataset, config, Ranks(), 2)
    assert resumed.goes_on
    assert torch.equal(resumed.sequences.flow, found[2].sequences.flow)


def test_processes_divide_a_batch_by_index(config: TrainConfig) -> None:
    dataset = SequenceDataset(config)
    whole = next(batches(dataset, config, Ranks(), 1)).sequences
    parts = [next(batches(dataset, config, Ranks(rank, 2), 1)).sequences for rank in range(2)]
    assert [len(part.picture) for part in parts] == [1, 2]
    assert torch.equal(torch.cat([part.picture for part in parts]), whole.picture)


def test_a_batch_too_small_for_the_processes_is_told(config: TrainConfig) -> None:
    check_batches(config, Ranks(0, 2))
    with pytest.raises(TrainError, match="a batch of 2 sequences can't be divided into 3 parts"):
        check_batches(config, Ranks(0, 3))
