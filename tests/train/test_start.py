from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from engine.network.recognizer import Recognizer
from engine.network.weights import load_recognizer
from engine.spec import ModelSpec
from train.checkpoint import Learner, Standing, save_checkpoint
from train.config import TrainConfig, TrainError
from train.loop import train
from train.start import load_start

MOVEMENTS_LABELS = ("jack", "cartwheel", "walk", "none")


@pytest.fixture
def checkpoint(config: TrainConfig, tmp_path: Path) -> Path:
    model, average = Recognizer(config.model), Recognizer(config.model)
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, Learner(model, average, torch.optim.AdamW(model.parameters())), Standing(step=5), config)
    return path


def relabelled(spec: ModelSpec, *labels: str) -> ModelSpec:
    return spec.model_copy(update={"labels": labels})


def test_a_checkpoint_of_ours(checkpoint: Path, spec: ModelSpec) -> None:
    model = Recognizer(spec)
    report = load_start(str(checkpoint), model)
    saved = Learner(*(Recognizer(spec) for _ in range(2)), torch.optim.AdamW(model.parameters()))  # other weights
    (line,) = report.lines
    assert line.startswith(f"starting from checkpoint {checkpoint} at step 5: 100% of the backbone found; ")
    assert not torch.equal(model.head.weight, saved.model.head.weight)


def test_a_checkpoint_of_other_labels_keeps_rows_by_label(checkpoint: Path, spec: ModelSpec) -> None:
    """The same number of labels, in another order: rows must follow the names."""
    before = Recognizer(spec)
    load_start(str(checkpoint), before)
    after = Recognizer(relabelled(spec, "wave1", "hop", "none"))
    fresh = after.head.weight[1].clone()
    report = load_start(str(checkpoint), after)
    assert torch.equal(after.head.weight, torch.stack((before.head.weight[1], fresh, before.head.weight[2])))
    assert "  adapted, rows of the same label (wave1, none): head.weight, head.bias, memory_head.weight" in report.lines


def test_the_shipped_bundle_with_new_labels(movements: Any) -> None:
    spec = relabelled(movements.spec, *MOVEMENTS_LABELS)
    torch.manual_seed(0)
    model = Recognizer(spec)
    report = load_start("movements", model)
    assert report.fitted.share == 1
    assert report.fitted.missing == report.fitted.mismatched == report.fitted.unused == []
    source = load_recognizer(movements)
    rows = [movements.spec.labels.index(label) for label in ("jack", "walk", "none")]
    assert torch.equal(model.head.weight[[0, 2, 3]], source.head.weight[rows])
    assert torch.equal(model.memory.input_gates.weight, source.memory.input_gates.weight)
    again = Recognizer(spec)
    load_start(str(movements.path / "weights.safetensors"), again)  # the file inside means the bundle
    assert torch.equal(again.head.weight[0], model.head.weight[0])


@pytest.fixture
def movements() -> Any:
    from engine.bundle import Bundle

    return Bundle.load("movements")


def test_training_starts_from_it_and_says_so(settings: dict[str, Any], checkpoint: Path, tmp_path: Path) -> None:
    settings |= {"start": str(checkpoint), "phases": [{"steps": 1, "batch": 1, "mix": {"drawn": 1.0}}]}
    console = Console(record=True, width=200)
    train(TrainConfig.model_validate(settings), tmp_path / "run", console)
    assert "starting from checkpoint" in console.export_text()


def test_mistakes_are_told(spec: ModelSpec, tmp_path: Path, checkpoint: Path) -> None:
    model = Recognizer(spec)
    with pytest.raises(TrainError, match=r"start: nowhere\.pth: cannot be read: No such file"):
        load_start("nowhere.pth", model)
    with pytest.raises(TrainError, match=f"start: {tmp_path}: .* has no model.yaml"):
        load_start(str(tmp_path), model)
    with pytest.raises(TrainError, match=r"start: movements: only \d+% of the backbone of model 'tiny'"):
        load_start("movements", model)
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    with pytest.raises(TrainError, match=r"start: .*resnet\.pth: none of its 1 names"):
        load_start(str(tmp_path / "resnet.pth"), model)
