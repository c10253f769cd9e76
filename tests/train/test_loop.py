from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from engine.network.recognizer import Recognizer
from train import loop
from train.config import OptimConfig, TrainConfig, TrainError

QUIET = Console(quiet=True)


class Killed(Exception):
    pass


def losses(run: Path) -> list[tuple[str, str]]:
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        return [(row["step"], row["loss"]) for row in csv.DictReader(file)]


def kill_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    real, done = loop.train_step, [0]

    def step(*args: Any) -> loop.StepLoss:
        if done[0] == steps:
            raise Killed
        done[0] += 1
        return real(*args)

    monkeypatch.setattr(loop, "train_step", step)


def test_a_killed_run_goes_on_as_if_nothing_had_been(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = loop.train(config, tmp_path / "whole", QUIET)
    with monkeypatch.context() as patch:
        kill_after(patch, 5)
        with pytest.raises(Killed):
            loop.train(config, tmp_path / "killed", QUIET)
    resumed = loop.train(config, tmp_path / "killed", QUIET)
    assert losses(tmp_path / "killed")[-2:] == losses(tmp_path / "whole")[-2:]
    assert dict(losses(tmp_path / "killed")) == dict(losses(tmp_path / "whole"))
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_finished_run_is_not_trained_again(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.train(config, tmp_path, QUIET)
    kill_after(monkeypatch, 0)
    loop.train(config, tmp_path, QUIET)
    assert len(losses(tmp_path)) == config.steps


def test_a_checkpoint_of_another_configuration_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    loop.train(config, tmp_path, QUIET)
    with pytest.raises(TrainError, match="different configuration"):
        loop.train(config.model_copy(update={"seed": 1}), tmp_path, QUIET)


def test_a_damaged_checkpoint_is_named(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "last.safetensors").write_bytes(b"nonsense")
    with pytest.raises(TrainError, match="not a readable checkpoint"):
        loop.train(config, tmp_path, QUIET)


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = loop.train_step, [0]

    def step(*args: Any) -> loop.StepLoss:
        done[0] += 1
        result = real(*args)
        return result if done[0] < 4 else loop.StepLoss(torch.tensor(math.nan), 0.0)

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(TrainError, match="the loss is nan at step 3"):
        loop.train(config, tmp_path, QUIET)
    assert all(torch.isfinite(t).all() for t in load_file(tmp_path / "last.safetensors").values())


def test_the_loss_counts_only_what_is_asked() -> None:
    logits = torch.tensor([[[[5.0, 0.0], [0.0, 5.0]]]])
    weight = torch.ones(1, 1, 2)
    both = loop.sequence_loss(logits, torch.tensor([[[0, 1]]]), weight, 0.0)
    one = loop.sequence_loss(logits, torch.tensor([[[0, -1]]]), weight, 0.0)
    assert float(both) == pytest.approx(float(one)) == pytest.approx(math.log1p(math.exp(-5)))
    assert float(loop.sequence_loss(logits, torch.tensor([[[-1, -1]]]), weight, 0.0)) == 0


def test_the_rate_warms_up_and_falls() -> None:
    optim = OptimConfig(lr=1.0, warmup_steps=10)
    rates = [loop.learning_rate(step, 100, optim) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.02
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_norms_biases_and_position_tables_do_not_decay(config: TrainConfig) -> None:
    model = Recognizer(config.model)
    decayed = {id(p) for p in loop.parameter_groups(model, 0.1)[0]["params"]}  # type: ignore[attr-defined]
    for name, p in model.named_parameters():
        assert (id(p) in decayed) == (p.ndim >= 2 and "position_bias" not in name), name
