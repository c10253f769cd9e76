"""What `swinstream bench train` says adds up, on a network that takes milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from train.bench import STAGES, Stopwatch
from train.bench_command import bench
from train.config import TrainConfig


def test_a_step_is_its_stages(settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(TrainConfig.model_validate(settings).model_dump(mode="json")), encoding="utf-8")
    assert bench(path, 4, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["stage_ms"]) == set(STAGES)
    assert all(told["stage_ms"][stage] > 0 for stage in STAGES)
    step_s = sum(told["stage_ms"].values()) / 1e3
    assert told["steps_per_s"] == pytest.approx(1 / step_s, rel=0.01)
    assert told["clips_per_s"] == pytest.approx(2 * 1 / step_s, rel=0.01)
    assert told["waiting_share"] == pytest.approx(told["stage_ms"]["data"] / 1e3 / step_s, abs=0.01)
    assert told["workers"] == 0
    assert told["waiting_share"] > 0.05  # without worker processes every batch is waited for


def test_stages_end_where_the_next_begins() -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.mark("data")
    watch.mark("forward")
    assert watch.seconds["data"] > 0
    assert watch.seconds["forward"] == 0
    watch.mark("rest")
    assert watch.seconds["forward"] > 0


def test_a_wrong_configuration_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text("model: 1", encoding="utf-8")
    assert bench(tmp_path / "run.yaml", 4, as_json=False) == 2
    assert "run.yaml: model: " in capsys.readouterr().err


def test_data_that_can_not_be_used_is_told(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings["data"] = {"root": str(tmp_path / "nowhere")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(settings))), encoding="utf-8")
    assert bench(tmp_path / "run.yaml", 4, as_json=False) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err
