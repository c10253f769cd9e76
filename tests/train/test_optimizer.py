from __future__ import annotations

import itertools

import pytest
import torch

from engine.network.recognizer import Recognizer
from train.config import OptimConfig, TrainConfig
from train.optimizer import learning_rate, make_optimizer, parameter_groups, set_learning_rate, update_average


def test_the_rate_warms_up_and_falls() -> None:
    optim = OptimConfig(lr=1.0, warmup_steps=10)
    rates = [learning_rate(step, 100, optim) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.02
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_norms_biases_and_position_tables_do_not_decay(config: TrainConfig) -> None:
    model = Recognizer(config.model)
    groups = parameter_groups(model, OptimConfig(weight_decay=0.1))
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}  # type: ignore[attr-defined]
    for name, p in model.named_parameters():
        assert (id(p) in decayed) == (p.ndim >= 2 and "position_bias" not in name), name


def test_the_backbone_learns_slower_than_the_heads(config: TrainConfig) -> None:
    model = Recognizer(config.model)
    optimizer = make_optimizer(model, OptimConfig(backbone_lr=0.1))
    set_learning_rate(optimizer, 1e-2)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, p in model.named_parameters():
        assert rates[id(p)] == pytest.approx(1e-2 if name.startswith(("head", "memory")) else 1e-3), name


def test_the_average_follows_weights_and_copies_statistics() -> None:
    model, average = torch.nn.BatchNorm3d(2), torch.nn.BatchNorm3d(2)
    with torch.no_grad():
        model.weight.fill_(3.0)
    model.running_mean.fill_(5.0)
    update_average(average, model, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean.tolist() == [5.0, 5.0]
