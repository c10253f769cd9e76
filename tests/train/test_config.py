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
        ({"optim": {"accumulate": 2}}, "a batch of 1 can't be cut into 2 parts"),
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


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"thresholds": {"temperature": 2.0}}, True),
        ({"workers": 7, "threads": 3, "device": "auto", "checkpoint_every": 1}, True),
        ({"stateless": False}, True),
        ({"seed": 1}, False),
        ({"stateless": True}, False),
    ],
)
def test_only_what_changes_the_weights_makes_it_another_run(
    config: TrainConfig, change: dict[str, Any], same: bool
) -> None:
    assert (config.model_copy(update=change).identity == config.identity) == same


def test_settings_can_be_overridden(settings: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "run.yaml", plain(settings))
    config = load_train_config(path, ["optim.lr=1e-4", "phases.1.steps=7", "data.exclude_groups=[anna]", "start=x=y"])
    assert (config.optim.lr, config.phases[1].steps, config.start) == (1e-4, 7, "x=y")
    assert config.data.exclude_groups == ("anna",)


@pytest.mark.parametrize("text", ["optim.lr", "phases.5.steps=1", "seed.x=1", "phases.x=1", "=1", "seed=["])
def test_an_override_that_makes_no_sense(settings: dict[str, Any], tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "run.yaml", plain(settings))
    with pytest.raises(TrainError, match="--set"):
        load_train_config(path, [text])


def test_a_sequence_begins_anew_in_each_phase(settings: dict[str, Any]) -> None:
    for phase in settings["phases"]:
        phase["carry_steps"] = 2
    config = TrainConfig.model_validate(settings)
    assert [config.sequence_start(step) for step in range(6)] == [0, 0, 2, 3, 3, 5]
    assert config.phases[1].sequence_windows == 6


def test_the_shipped_configuration_is_valid() -> None:
    load_train_config(Path(__file__).parents[2] / "configs" / "train" / "movements.yaml")
