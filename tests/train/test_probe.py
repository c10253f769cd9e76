"""The linear probe: classifiers fitted to the features that training starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from rich.console import Console

from engine.network.recognizer import Recognizer
from engine.spec import ModelSpec
from stream.demo.record import write_mp4
from stream.demo.scene import clip
from train import loop
from train.config import TrainConfig, TrainError
from train.data.clips import ClipRef
from train.data.windows import WindowCache
from train.probe import fit_classifiers


@pytest.fixture(scope="module")
def refs(tmp_path_factory: pytest.TempPathFactory) -> list[ClipRef]:
    """Three drawn clips for each of two labels, and three for none."""
    root = tmp_path_factory.mktemp("probe")
    found = []
    for label, shown in (("walk", "walk"), ("wave1", "wave1"), ("none", "bend")):
        for seed in range(3):
            path = root / f"{label}-{seed}.mp4"
            write_mp4(path, clip(np.random.default_rng(seed), shown, 2.0, 15), 15)
            found.append(ClipRef(path, label, str(seed)))
    return found


def model_of(spec: ModelSpec, **network: Any) -> Recognizer:
    torch.manual_seed(0)
    return Recognizer(spec.model_copy(update={"network": spec.network.model_copy(update=network)}))


@pytest.mark.parametrize(
    "network", [{}, {"memory_mode": "replace"}, {"memory": "none"}], ids=["residual", "replace", "no memory"]
)
def test_the_classifiers_say_what_the_regression_says(spec: ModelSpec, refs: list[ClipRef], network: Any) -> None:
    """The network as it runs, its state carried, recognizes the share of the clips that the fit reports: nearly all."""
    model, cache = model_of(spec, **network), WindowCache(None, spec)
    share = fit_classifiers(model, refs, cache, strength=100.0)
    right = 0
    for ref in refs:
        state, logits = model.initial_state(1), []
        with torch.no_grad():
            for window in cache.windows(ref):
                said, state = model(torch.from_numpy(window.picture), torch.from_numpy(window.flow), state)
                logits.append(said[0])
        right += spec.labels[int(torch.cat(logits).mean(0).argmax())] == ref.label
    assert right / len(refs) == pytest.approx(share)
    assert share >= 8 / 9


def test_two_labels(spec: ModelSpec, refs: list[ClipRef]) -> None:
    two = spec.model_copy(update={"labels": ("walk", "none")})
    model = model_of(two)
    assert fit_classifiers(model, [ref for ref in refs if ref.label != "wave1"], WindowCache(None, two), 100.0) == 1.0
    assert torch.allclose(model.head.weight[0], -model.head.weight[1])


def test_batch_norms_have_the_clips_statistics(spec: ModelSpec, refs: list[ClipRef]) -> None:
    model = model_of(spec)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm3d)]
    assert norms
    fit_classifiers(model, refs, WindowCache(None, spec), 1.0)
    for norm in norms:
        assert norm.num_batches_tracked == len(refs)
        assert norm.momentum is not None
        assert not norm.training


def test_a_label_without_a_clip(spec: ModelSpec, refs: list[ClipRef]) -> None:
    with pytest.raises(TrainError, match="probe: no clip of wave1"):
        fit_classifiers(model_of(spec), [ref for ref in refs if ref.label != "wave1"], WindowCache(None, spec), 1.0)


def test_a_clip_that_cannot_be_read_is_left_out(spec: ModelSpec, refs: list[ClipRef], tmp_path: Path) -> None:
    broken = ClipRef(tmp_path / "no.mp4", "walk", "x")
    assert fit_classifiers(model_of(spec), [*refs, broken], WindowCache(None, spec), 100.0) >= 8 / 9


def test_a_probe_needs_a_start(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"probe .* needs a start"):
        TrainConfig.model_validate(settings | {"probe": 0.1, "start": None})


def test_training_begins_with_it(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], refs: list[ClipRef]
) -> None:
    settings |= {"precision": "fp32"}
    first = loop.train(TrainConfig.model_validate(settings), tmp_path / "first", Console(quiet=True))
    torch.save(first.state_dict(), tmp_path / "first.pth")
    for ref in refs:
        if ref.label == "none":
            folder = tmp_path / "clips" / "idle"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ref.path.name).symlink_to(ref.path)
    for label in ("walk", "wave1"):
        (tmp_path / "clips" / label).symlink_to(Path(settings["data"]["root"]) / label)
    data = {"root": str(tmp_path / "clips"), "none_folders": ["idle"]}
    again = settings | {"probe": 1.0, "start": str(tmp_path / "first.pth"), "data": data}
    loop.train(TrainConfig.model_validate(again), tmp_path / "second", Console(width=200))
    assert "classifiers fitted to 7 clips" in capsys.readouterr().out
