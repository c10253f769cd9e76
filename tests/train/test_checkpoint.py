from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from engine.network.recognizer import Recognizer
from train.checkpoint import Learner, Standing, load_checkpoint, save_checkpoint
from train.config import TrainConfig, TrainError
from train.optimizer import make_optimizer


def learner(config: TrainConfig, seed: int = 0) -> Learner:
    torch.manual_seed(seed)
    model = Recognizer(config.model)
    made = Learner(model, Recognizer(config.model), make_optimizer(model, config.optim))
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    made.optimizer.step()
    return made


@contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """No file may grow beyond free_bytes: what a write sees on a full disk, except for the error's number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_all_comes_back(config: TrainConfig, tmp_path: Path) -> None:
    saved, other = learner(config), learner(config, seed=1)
    state = [torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)]
    save_checkpoint(tmp_path / "last.safetensors", saved, Standing(5, {"worse": 1}, state), config)
    standing = load_checkpoint(tmp_path / "last.safetensors", other, config)
    assert (standing.step, standing.validation) == (5, {"worse": 1})
    assert all(torch.equal(a, b) for a, b in zip(standing.state or [], state, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(saved.model.parameters(), other.model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(saved.average.parameters(), other.average.parameters(), strict=True))
    for a, b in zip(saved.model.parameters(), other.model.parameters(), strict=True):
        one, two = saved.optimizer.state[a], other.optimizer.state[b]
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_full_disk_leaves_the_old_checkpoint(config: TrainConfig, tmp_path: Path) -> None:
    path, saved = tmp_path / "last.safetensors", learner(config)
    save_checkpoint(path, saved, Standing(1), config)
    before = path.read_bytes()
    told = r"step 2 can't be written.*still holds an earlier"
    with full_disk(len(before) // 2), pytest.raises(TrainError, match=told):
        save_checkpoint(path, saved, Standing(2), config)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_another_configuration_is_refused_and_what_differs_is_named(config: TrainConfig, tmp_path: Path) -> None:
    path, saved = tmp_path / "last.safetensors", learner(config)
    save_checkpoint(path, saved, Standing(1), config)
    other = config.model_copy(update={"seed": 1, "workers": 3, "notes": "changed"})
    with pytest.raises(TrainError, match=r"different configuration \(seed: default there, 1 here\)"):
        load_checkpoint(path, saved, other)


@pytest.mark.parametrize("content", [b"nonsense", b""])
def test_a_damaged_file_is_named(config: TrainConfig, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.safetensors").write_bytes(content)
    with pytest.raises(TrainError, match=r"last\.safetensors: not a readable checkpoint"):
        load_checkpoint(tmp_path / "last.safetensors", learner(config), config)
