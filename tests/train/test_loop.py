from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file

from train import loop
from train.config import TrainConfig, TrainError, load_train_config
from train.metrics import read_metrics
from train.stepper import Stepper

QUIET = Console(quiet=True)
ROOT = Path(__file__).parents[2]
PROCESS = "tests.train.training_process"


def written(settings: dict[str, Any], path: Path) -> Path:
    config = TrainConfig.model_validate(settings)
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    return path


def losses(run: Path) -> list[tuple[str, str]]:
    return [(row["step"], row["loss"]) for row in read_metrics(run / "metrics.csv")]


def never_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Stepper, "step", step)


@pytest.mark.timeout(600)
def test_a_killed_run_goes_on_as_if_nothing_had_been(settings: dict[str, Any], tmp_path: Path) -> None:
    """SIGKILL in step 7, between two checkpoints and in the middle of a sequence that several steps share."""
    settings |= {"checkpoint_every": 5, "threads": 1, "precision": "fp32", "start": None}
    settings["phases"][1] |= {"steps": 7, "batch": 2, "windows": 1, "carry_steps": 4}
    path = written(settings, tmp_path / "run.yaml")
    command = [sys.executable, "-m", PROCESS, path, tmp_path / "killed", "7"]
    killed = subprocess.run(command, cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(losses(tmp_path / "killed")) == 6
    assert "state.0" in load_file(tmp_path / "killed" / "last.safetensors")

    config = load_train_config(path)
    resumed = loop.train(config, tmp_path / "killed", QUIET)
    whole = loop.train(config, tmp_path / "whole", QUIET)
    assert [step for step, _ in losses(tmp_path / "killed")] == [str(i) for i in range(1, 11)]
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_run_folder_tells_what_was_done(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings["data"] |= {"validate_groups": ["ben"]}
    settings |= {"validation": {"every": 2, "keep": "best"}}
    config = TrainConfig.model_validate(settings)
    average = loop.train(config, tmp_path, QUIET)
    assert load_train_config(tmp_path / "config.yaml") == config
    (start,) = json.loads((tmp_path / "environment.json").read_text())
    assert start["packages"]["torch"] == torch.__version__
    rows = read_metrics(tmp_path / "metrics.csv")
    measured = {row["step"]: row["validation_top1"] for row in rows if row["validation_top1"]}
    assert list(measured) == ["2", "4", "6"]
    with open(tmp_path / "confusion.csv", newline="", encoding="utf-8") as file:
        table = [[int(n) for n in row[1:]] for row in list(csv.reader(file))[1:]]
    assert sum(map(sum, table)) == 2
    assert sum(table[i][i] for i in range(3)) / 2 == max(float(top1) for top1 in measured.values())
    for name in ("curves.png", "confusion.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "tensorboard").iterdir())
    best = load_file(tmp_path / "best.safetensors")
    assert all(torch.equal(t, best[f"average.{name}"]) for name, t in average.state_dict().items())

    never_step(monkeypatch)
    again = loop.train(config, tmp_path, QUIET)
    assert torch.equal(again.head.weight, average.head.weight)
    assert len(read_metrics(tmp_path / "metrics.csv")) == config.steps
    assert len(json.loads((tmp_path / "environment.json").read_text())) == 2


def test_no_number_for_a_loss_stops_names_the_clips_and_keeps_the_checkpoint(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    for phase in settings["phases"]:
        phase["mix"] = {"drawn": 0.0, "none": 0.0}
    settings |= {"optim": {"lr": 1e30, "warmup_steps": 0}, "checkpoint_every": 1}
    with pytest.raises(TrainError, match=r"is (nan|inf|-inf) at step 1, with .*/(anna|ben)\.mp4.* holds the last good"):
        loop.train(TrainConfig.model_validate(settings), tmp_path, QUIET)
    kept = load_file(tmp_path / "last.safetensors")
    assert all(torch.isfinite(t).all() for t in kept.values() if t.is_floating_point())
    assert len(losses(tmp_path)) == 1


def test_early_stop_needs_clips_to_measure_on(settings: dict[str, Any], tmp_path: Path) -> None:
    settings |= {"validation": {"patience": 2}}
    with pytest.raises(TrainError, match="validate_share"):
        loop.train(TrainConfig.model_validate(settings), tmp_path, QUIET)
