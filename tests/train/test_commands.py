"""The training commands' exit codes and what they say of a user's mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.failure import ErrorClass, SourceError
from train.commands import _failure, train
from train.config import TrainConfig, TrainError


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("swinstream: ")]


@pytest.mark.parametrize("text", ["phases: [", "model: {}", "a: b: c"])
def test_a_wrong_configuration_is_wrong_usage(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    assert train(path, tmp_path / "run") == 2
    lines = said(capsys)
    assert all(line.startswith(f"swinstream: {path}: ") for line in lines)
    assert len(lines) == (1 if text != "model: {}" else len(lines))


def test_an_override_that_makes_no_sense_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("optim: {}", encoding="utf-8")
    assert train(path, tmp_path / "run", ["optim.lr"]) == 2
    assert "swinstream: --set optim.lr: expected a key" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_that_cannot_be_decoded(
    workers: int, settings: dict[str, Any], clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, or in one that prepares data: one line says which."""
    shutil.copytree(clips, tmp_path / "clips")
    for clip in (tmp_path / "clips").glob("*/*.mp4"):
        clip.write_bytes(b"this is no video")
    settings = settings | {"data": {"root": str(tmp_path / "clips")}, "workers": workers}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(TrainConfig.model_validate(settings).model_dump(mode="json")), encoding="utf-8")
    assert train(path, tmp_path / "run") == 1
    (line,) = said(capsys)
    assert ".mp4" in line
    assert "Traceback" not in line


def test_only_mistakes_of_the_user_are_told() -> None:
    caught = "Caught {0} in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File x\n{1}\n"
    assert _failure(TrainError("no clips")) == "no clips"
    assert _failure(SourceError(ErrorClass.CODEC, "a.mp4: no decoder")) == "a.mp4: no decoder"
    assert _failure(TrainError(caught.format("TrainError", "train.config.TrainError: no: clips"))) == "no: clips"
    text = caught.format("SourceError", "stream.failure.SourceError: a.mp4: no decoder")
    assert _failure(RuntimeError(text)) == "a.mp4: no decoder"
    assert _failure(RuntimeError(caught.format("KeyError", "KeyError: 'x'"))) is None
    assert _failure(RuntimeError("CUDA error")) is None
