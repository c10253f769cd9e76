"""The configurations in configs/train: they load, their models begin as they say, and each can be trained."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from engine.bundle import CARD, Bundle, shipped
from engine.network.recognizer import Recognizer
from engine.spec import TOKEN_PATTERNS
from stream.info import info
from train.batches import batches
from train.bundle import REFERENCE_WINDOWS, card, reference_windows
from train.config import TrainConfig, load_train_config
from train.data.sequences import SequenceDataset
from train.distributed import Ranks
from train.optimizer import make_optimizer
from train.start import load_start
from train.stepper import Stepper

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs/train").rglob("*.yaml"))
PAPER = [path for path in FILES if path.parent.name == "ucf101"]
SMALL = {"embed_dim": 8, "heads": (1, 1, 1, 1), "depths": (1, 2, 1, 2), "window": (2, 2, 2)}


def shrunken(path: Path, clips: Path) -> TrainConfig:
    """The configuration with a network of a few thousand parameters, two labels and one step of two sequences."""
    raw: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    raw["model"] |= {"labels": ["walk", "wave1", "none"], "ticks": 8, "height": 32, "width": 32}
    memory = {key: value for key, value in raw["model"]["network"].items() if key in {"memory", "memory_mode"}}
    raw["model"]["network"] = SMALL | memory
    if (flow := raw["model"].get("flow")) is not None:
        flow |= {"method": "dis"}
    raw["data"] = {"root": str(clips), "augment": raw["data"].get("augment", {}), "cache": str(clips / "cache")}
    raw["phases"] = [raw["phases"][-1] | {"steps": 1, "batch": 2}]
    raw["phases"][0]["mix"].pop("none_clips", None)  # there are none
    raw["optim"]["accumulate"] = 1
    return TrainConfig.model_validate(raw | {"start": None, "workers": 0, "device": "cpu"})


def trained(config: TrainConfig) -> Recognizer:
    """After its first step."""
    torch.manual_seed(0)
    model = Recognizer(config.model)
    ranks = Ranks.from_environment()
    stepper = Stepper(model, make_optimizer(model, config.optim), config, ranks, torch.float32)
    result = stepper.step(next(iter(batches(SequenceDataset(config), config, ranks, 0))))
    assert math.isfinite(result.loss)
    assert result.loss > 0
    return model


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_loads_and_begins_as_it_says(path: Path) -> None:
    config = load_train_config(path)
    if config.start is not None and config.start in shipped():
        assert load_start(config.start, Recognizer(config.model)).fitted.share == 1


@pytest.mark.parametrize("name", shipped())
def test_the_card_that_ships_is_its_configurations(name: str) -> None:
    config = load_train_config(ROOT / f"configs/train/{name}.yaml")
    said = (Bundle.load(name).path / CARD).read_text(encoding="utf-8")
    assert said.strip() == card(config).strip()
    assert ("drawn actor;" in said) == any(phase.mix.drawn > 0 for phase in config.phases)


@pytest.mark.parametrize("path", [path for path in PAPER if "clstm" in path.stem], ids=lambda path: path.stem)
def test_a_step_of_each_modality_of_the_paper(path: Path, clips: Path) -> None:
    trained(shrunken(path, clips))


def test_ones_own_labels_can_be_trained_and_exported(clips: Path, tmp_path: Path) -> None:
    """The drawn actor knows none of these: neither training nor the bundle's reference may ask it for them."""
    for label, source in (("pick-up", "walk"), ("sit-down", "wave1")):
        (tmp_path / label).symlink_to(clips / source)
    config = shrunken(ROOT / "configs/train/my-actions.yaml", clips)
    spec = config.model.model_copy(update={"labels": ("pick-up", "sit-down", "none")})
    data = config.data.model_copy(update={"root": str(tmp_path)})
    trained(config.model_copy(update={"model": spec, "data": data}))
    windows = reference_windows(spec)
    assert windows["picture"].shape == (REFERENCE_WINDOWS, *spec.inputs[0].shape)
    assert windows["flow"].abs().max() > 1


def test_the_rows_differ_only_in_network_and_modality() -> None:
    assert len(PAPER) == 6
    configs = [load_train_config(path) for path in PAPER]
    alike = [config.model_copy(update={"model": config.model.labels}) for config in configs]
    assert all(other == alike[0] for other in alike)
    assert {(c.model.modality, c.model.network.memory) for c in configs} == {
        (modality, memory) for modality in TOKEN_PATTERNS for memory in ("none", "blocks")
    }
    assert len(configs[0].model.labels) == 102
    assert list(configs[0].model.actions) == sorted(configs[0].model.actions, key=str.lower)  # classInd.txt's order


def test_the_table_in_the_documentation_is_what_info_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert info([str(path) for path in PAPER], as_json=False) == 0
    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out in page


def test_every_configuration_and_page_that_the_documentation_names_is_there() -> None:
    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    named = re.findall(r"configs/train/[\w/.-]+\.(?:yaml|sh)", page)
    assert {path.name for path in FILES if "movements" not in path.name} <= {Path(name).name for name in named} | {
        path.name for path in PAPER
    }
    assert all((ROOT / name).exists() for name in named)
