from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from engine.network.recognizer import Recognizer
from tests.train.test_objective import random_batch
from train.batches import StepBatch
from train.config import TrainConfig
from train.distributed import Ranks
from train.optimizer import make_optimizer
from train.stepper import Stepper


@pytest.fixture
def config(settings: dict[str, Any]) -> TrainConfig:
    """Without batch norm and dropout, so that a part of a batch does not know of the others."""
    settings["model"]["network"] |= {"stem": "patch", "stem_channels": []}
    settings["optim"] = {"dropout": 0.0, "drop_path": 0.0, "warmup_steps": 0}
    return TrainConfig.model_validate(settings)


def model_of(config: TrainConfig) -> Recognizer:
    torch.manual_seed(0)
    return Recognizer(config.model)


def stepper(model: Recognizer, config: TrainConfig) -> Stepper:
    return Stepper(model, make_optimizer(model, config.optim), config, Ranks(), torch.float32)


def test_a_batch_in_parts_gives_the_same_step(config: TrainConfig) -> None:
    batch = StepBatch(0, random_batch(config, 5, 2), False, [])
    whole, parts = model_of(config), model_of(config)
    optim = config.optim.model_copy(update={"accumulate": 3})
    results = [
        stepper(whole, config).step(batch),
        stepper(parts, config.model_copy(update={"optim": optim})).step(batch),
    ]
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-6)
    assert results[0].accuracy == results[1].accuracy
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-6)  # type: ignore[arg-type]


def test_state_goes_from_step_to_step_and_is_dropped_at_a_boundary(config: TrainConfig) -> None:
    still = config.model_copy(update={"optim": config.optim.model_copy(update={"lr": 1e-12})})
    sequence, model = random_batch(config, 2, 4), model_of(config)
    expected = copy.deepcopy(model).forward_sequence(sequence.picture, sequence.flow).state
    one = stepper(model, still)
    halves = [sequence.part(slice(None), slice(i, i + 2)) for i in (0, 2)]
    one.step(StepBatch(0, halves[0], False, []))
    assert not any(tensor.requires_grad for tensor in one.state or [])
    one.step(StepBatch(1, halves[1], True, []))
    for a, b in zip(one.state or [], expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    one.step(StepBatch(2, halves[1], False, []))
    fresh = model.forward_sequence(halves[1].picture, halves[1].flow).state
    assert torch.allclose((one.state or [])[0], fresh[0], atol=1e-5)
    assert not torch.allclose(fresh[0], expected[0], atol=1e-3)
