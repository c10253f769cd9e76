from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.test_checkpoint import full_disk
from train.config import TrainError
from train.run_folder import RunFolder


def test_one_run_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "a")
    with folder.locked(), pytest.raises(TrainError, match="trains in this folder"), RunFolder(folder.path).locked():
        pass
    with RunFolder(folder.path).locked():
        pass


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(TrainError, match="free some space"), folder.locked(), full_disk(1000):
        folder.metrics.write_bytes(bytes(2000))


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(TrainError, match="can't be written to"), RunFolder(tmp_path / "file" / "run").locked():
        pass
