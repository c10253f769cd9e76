from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from tests.train.test_loop import PROCESS, ROOT, losses, written
from train import loop
from train.config import load_train_config
from train.distributed import Ranks, share_statistics


@pytest.mark.timeout(600)
def test_two_processes_train_as_one(settings: dict[str, Any], tmp_path: Path) -> None:
    """torchrun with gloo: batch norm, uneven shares, a batch in parts, and state carried over steps."""
    settings["phases"] = [
        {"steps": 2, "batch": 5, "windows": 1, "mix": {"drawn": 0.5, "none": 0.3}},
        {"steps": 2, "batch": 3, "windows": 1, "carry_steps": 2, "mix": {"drawn": 0.5, "none": 0.3}},
    ]
    settings["optim"] = {"dropout": 0.0, "drop_path": 0.0, "warmup_steps": 2, "grad_clip": 1e9}
    settings["data"] |= {"validate_groups": ["ben"]}
    settings |= {"threads": 1, "precision": "fp32"}
    path = written(settings, tmp_path / "run.yaml")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", PROCESS, path, tmp_path / "two"]
    two = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert two.returncode == 0, two.stderr
    one = loop.train(load_train_config(path), tmp_path / "one", Console(quiet=True))
    assert [step for step, _ in losses(tmp_path / "two")] == ["1", "2", "3", "4"]
    for (_, a), (_, b) in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert float(a) == pytest.approx(float(b), abs=1e-4)
    # AdamW hardly notices a wrong factor on all gradients; its mean of them does.
    states = [load_file(tmp_path / name / "last.safetensors") for name in ("one", "two")]
    means = [name for name in states[0] if name.endswith("exp_avg")]
    assert len(means) == len(list(one.parameters()))
    for name in means:
        assert torch.allclose(states[0][name], states[1][name], atol=1e-5), name
    confusion = [(tmp_path / name / "confusion.csv").read_text() for name in ("one", "two")]
    assert confusion[0] == confusion[1]


def test_shares_are_neighbours_and_cover_everything() -> None:
    shares = [Ranks(rank, 3).share(10) for rank in range(3)]
    assert [i for share in shares for i in share] == list(range(10))
    assert sorted(map(len, shares)) == [3, 3, 4]


def test_global_batch_norm_keeps_parameters_and_evaluates_alike() -> None:
    plain = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.BatchNorm3d(2))
    plain(torch.randn(2, 1, 3, 4, 4))
    x = torch.randn(2, 1, 3, 4, 4)
    plain.eval()
    parameters, expected = list(plain.parameters()), plain(x)
    share_statistics(plain)
    plain.eval()
    assert all(a is b for a, b in zip(plain.parameters(), parameters, strict=True))
    assert torch.equal(plain(x), expected)
    assert list(plain.state_dict()) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    ]
