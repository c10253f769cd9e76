from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from train.config import TrainConfig, TrainError, load_train_config


def write(path: Path, settings: object) -> Path:
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """As YAML can hold it."""
    return TrainConfig.model_validate(settings).model_dump(mode="json")


def test_a_file_is_what_was_written(settings: dict[str, Any], tmp_path: Path) -> None:
    config = load_train_config(write(tmp_path / "run.yaml", plain(settings)))
    assert config == TrainConfig.model_validate(settings)
    assert config.steps == 6
    assert [config.phase_at(step).windows for step in range(6)] == [1, 1, 1, 3, 3, 3]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sede": 1}, "sede: Extra inputs"),
        ({"phases": []}, "phases"),
        ({"optim": {"lr": -1}}, "optim.lr"),
        ({"data": {"root": "x", "exclude_groups": ["a"], "validate_groups": ["a"]}}, "both excluded and validated"),
    ],
)
def test_a_mistake_names_file_and_key(
    settings: dict[str, Any], tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    path = write(tmp_path / "run.yaml", plain(settings) | change)
    with pytest.raises(TrainError, match=told) as error:
        load_train_config(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "phases: [", "- 1"])
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TrainError, match=r"run\.yaml") as error:
        load_train_config(path)
    assert len(str(error.value).splitlines()) <= 4


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="cannot be read"):
        load_train_config(tmp_path / "run.yaml")


def test_thresholds_do_not_make_it_another_run(config: TrainConfig) -> None:
    assert config.model_copy(update={"thresholds": {"temperature": 2.0}}).fingerprint == config.fingerprint
    assert config.model_copy(update={"seed": 1}).fingerprint != config.fingerprint


def test_the_shipped_configuration_is_valid() -> None:
    load_train_config(Path(__file__).parents[2] / "configs" / "train" / "movements.yaml")
