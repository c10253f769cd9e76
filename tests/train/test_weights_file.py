from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from train.config import TrainError
from train.weights_file import read_weights

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3)}


class Malicious:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"state_dict": w, "epoch": 3}, lambda w: {"model": w}])
def test_files_of_torch(wrap, tmp_path: Path) -> None:
    for zipped in (True, False):
        torch.save(wrap(WEIGHTS), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        assert torch.equal(read_weights(tmp_path / "w.pth").tensors["a.weight"], WEIGHTS["a.weight"])


def test_safetensors_with_what_a_checkpoint_notes(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors", metadata={"meta": '{"step": 7}'})
    tensors, meta = read_weights(tmp_path / "w.safetensors")
    assert torch.equal(tensors["a.weight"], WEIGHTS["a.weight"])
    assert meta == {"step": 7}


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "bad.pth"
    torch.save({"state_dict": WEIGHTS, "hook": Malicious(made)}, path)
    plain = tmp_path / "plain.pth"
    plain.write_bytes(pickle.dumps(Malicious(made), protocol=2))
    for file in (path, plain):
        with pytest.raises(TrainError, match=r"could run code and are not loaded\. If you trust its source"):
            read_weights(file)
        assert not made.exists()
    pickle.loads(plain.read_bytes())
    assert made.exists()  # it is as dangerous as it should be


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with pytest.raises(TrainError, match=r"w\.pth: cannot be read: No such file"):
        read_weights(path)
    path.write_bytes(b"not weights at all")
    with pytest.raises(TrainError, match=r"w\.pth: neither safetensors nor"):
        read_weights(path)
    torch.save([1, 2], path)
    with pytest.raises(TrainError, match="holds no tensors by name"):
        read_weights(path)
    torch.save(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(TrainError, match="neither safetensors nor a whole file"):
        read_weights(path)
    save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(TrainError, match=r"a damaged safetensors file: .*fetch or write it again"):
        read_weights(path)
