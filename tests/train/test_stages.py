"""Stages: what a configuration starts from is trained first, once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from train.config import TrainConfig, TrainError
from train.stages import after_stages


def test_what_comes_before_is_trained_first_and_only_once(settings: dict[str, Any], tmp_path: Path) -> None:
    short = settings | {"phases": [{"steps": 1, "batch": 1, "mix": {"drawn": 1.0}}]}
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(yaml.safe_dump(short), encoding="utf-8")
    second.write_text(yaml.safe_dump(short | {"start": str(first)}), encoding="utf-8")
    third = TrainConfig.model_validate(settings | {"start": str(second)})
    told = io.StringIO()
    ready = after_stages(third, tmp_path / "runs", Console(file=told, width=200))
    assert ready.start == str(tmp_path / "runs" / "second" / "last.safetensors")
    assert told.getvalue().count("before it:") == 2
    written = Path(ready.start).stat().st_mtime_ns
    assert after_stages(third, tmp_path / "runs", Console(file=io.StringIO())) == ready
    assert Path(ready.start).stat().st_mtime_ns == written


def test_weights_are_no_stage(settings: dict[str, Any], tmp_path: Path) -> None:
    config = TrainConfig.model_validate(settings | {"start": "movements"})
    assert after_stages(config, tmp_path, Console(file=io.StringIO())) is config


def test_a_stage_that_is_not_there(settings: dict[str, Any], tmp_path: Path) -> None:
    config = TrainConfig.model_validate(settings | {"start": str(tmp_path / "no.yaml")})
    with pytest.raises(TrainError, match=r"no\.yaml: cannot be read"):
        after_stages(config, tmp_path, Console(file=io.StringIO()))
