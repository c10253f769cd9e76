"""The linear probe: classifiers fitted to the features that training starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from engine.network.recognizer import Recognizer
from engine.spec import ModelSpec
from stream.demo.record import write_mp4
from stream.demo.scene import clip
from train import loop
from train.config import ProbeConfig, TrainConfig, TrainError
from train.data.clips import ClipRef
from train.data.windows import WindowCache
from train.probe import STRENGTHS, Fitted, Samples, best_strength, fit_classifier, regression


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


def fit(
    model: Recognizer,
    refs: list[ClipRef],
    sizes: tuple[tuple[int, int], ...] = (),
    quiet: Sequence[ClipRef] = (),
    moving_weight: float = 0.0,
) -> Fitted:
    config = ProbeConfig(strength=100.0, sizes=sizes, moving_weight=moving_weight)
    return fit_classifier(model, refs, quiet, None, config, Progress(console=Console(quiet=True)))


def scores(model: Recognizer, ref: ClipRef) -> torch.Tensor:
    """Logits of a clip, the mean over its steps, of the network as it runs, its state carried."""
    state, logits = model.initial_state(1), []
    with torch.no_grad():
        for window in WindowCache(None, model.spec).windows(ref):
            said, state = model(torch.from_numpy(window.picture), torch.from_numpy(window.flow), state)
            logits.append(said[0])
    return torch.cat(logits).mean(0)


@pytest.mark.parametrize(
    "network", [{}, {"memory_mode": "replace"}, {"memory": "none"}], ids=["residual", "replace", "no memory"]
)
def test_the_classifier_says_what_the_regression_says(spec: ModelSpec, refs: list[ClipRef], network: Any) -> None:
    """The network as it runs recognizes the share of the clips that the fit reports: nearly all."""
    model = model_of(spec, **network)
    if model.memory_head is not None:
        torch.nn.init.normal_(model.memory_head.weight, std=10)  # of what it was trained for before
    fitted = fit(model, refs)
    right = sum(spec.labels[int(scores(model, ref).argmax())] == ref.label for ref in refs)
    assert right / len(refs) == pytest.approx(fitted.right)
    assert fitted.right >= 8 / 9
    assert fitted.strength == 100


def test_two_labels(spec: ModelSpec, refs: list[ClipRef]) -> None:
    two = spec.model_copy(update={"labels": ("walk", "none")})
    model = model_of(two)
    assert fit(model, [ref for ref in refs if ref.label != "wave1"]).right == 1.0
    assert torch.allclose(model.head.weight[0], -model.head.weight[1])


def test_nothing_but_the_classifier_changes(spec: ModelSpec, refs: list[ClipRef]) -> None:
    model = model_of(spec)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(model, refs)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.weight", "head.bias"}


def test_pictures_of_other_sizes_count(spec: ModelSpec, refs: list[ClipRef]) -> None:
    """The fit is another one, and the share is still that of the model's own size."""
    plain, sized = model_of(spec), model_of(spec)
    fit(plain, refs)
    fitted = fit(sized, refs, sizes=((spec.height * 2, spec.width * 2), (spec.height, spec.width)))
    assert not torch.equal(plain.head.weight, sized.head.weight)
    assert fitted.clips == len(refs)
    right = sum(spec.labels[int(scores(sized, ref).argmax())] == ref.label for ref in refs)
    assert right / len(refs) == pytest.approx(fitted.right)


def test_the_strength_is_chosen_over_whole_groups() -> None:
    """Each group has a mark of its own, and a sign that all share is weak: only another group's clips show that a fit
    strong enough to learn the marks is worth less."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 6)
    labels = groups % 2
    marks, sign = np.eye(20)[groups], labels[:, None] - 0.5 + rng.normal(0, 2, (len(groups), 1))
    table = np.hstack([marks / marks.std(axis=0), sign / sign.std()])
    whole, cut = (
        best_strength(Samples(table, labels, names.astype(str), np.ones(len(labels))))
        for names in (groups, np.arange(len(groups)))
    )
    assert whole < cut
    assert {whole, cut} <= set(STRENGTHS)


@pytest.mark.parametrize("groups", [["a"] * 40, ["a"] * 20 + ["b"] * 20, ["a"] * 39 + ["b"]])
def test_too_few_groups_to_choose_by(groups: list[str]) -> None:
    table, labels = np.random.default_rng(0).normal(size=(40, 2)), np.repeat([0, 1], 20)
    with pytest.raises(TrainError, match=r"too few groups to choose its strength by: give probe\.strength"):
        best_strength(Samples(table, labels, np.array(groups), np.ones(40)))


def test_two_groups_are_enough() -> None:
    table, labels = np.random.default_rng(0).normal(size=(40, 2)), np.tile([0, 1], 20)
    assert best_strength(Samples(table, labels, np.repeat(["a", "b"], 20), np.ones(40))) in STRENGTHS


def test_labels_weigh_the_same_and_quiet_clips_less() -> None:
    """One feature, on which the labels overlap; where the answer changes says what weighs how much."""
    rng = np.random.default_rng(0)
    table = np.concatenate([rng.normal(-1, 1, 300), rng.normal(1, 1, 100), rng.normal(1, 1, 100)])[:, None]
    labels = np.repeat([0, 1, 0], [300, 100, 100])  # the last hundred: quiet, and like label 1

    def edge(weight: float) -> float:
        weights = np.repeat([1.0, 1.0, weight], [300, 100, 100])
        fit = regression(Samples(table, labels, labels.astype(str), weights), 100.0)
        return float(-fit.intercept_[0] / fit.coef_[0, 0])

    assert edge(1e-9) == pytest.approx(0, abs=0.2)
    assert edge(1e-9) < edge(0.3) < edge(1.0)


def test_quiet_clips_are_none(spec: ModelSpec, refs: list[ClipRef]) -> None:
    """Beside the data's clips they count in the fit, and not in what is told of it."""
    walks, quiet = [ref for ref in refs if ref.label != "none"], [ref for ref in refs if ref.label == "none"]
    model = model_of(spec)
    fitted = fit(model, walks, quiet=quiet)
    assert (fitted.clips, fitted.quiet) == (6, 3)
    assert "fitted to 6 clips and 3 quiet ones" in str(fitted)
    assert sum(int(scores(model, ref).argmax()) == spec.labels.index("none") for ref in quiet) >= 2


def test_none_counts_once_more_under_a_moving_camera(spec: ModelSpec, refs: list[ClipRef]) -> None:
    plain, moving = model_of(spec), model_of(spec)
    fit(plain, refs)
    fitted = fit(moving, refs, moving_weight=1.0)
    assert (fitted.clips, fitted.quiet) == (len(refs), 0)
    assert not torch.equal(plain.head.weight, moving.head.weight)


def test_a_label_without_a_clip(spec: ModelSpec, refs: list[ClipRef]) -> None:
    with pytest.raises(TrainError, match="probe: no clip of wave1"):
        fit(model_of(spec), [ref for ref in refs if ref.label != "wave1"])


def test_a_clip_that_cannot_be_read_is_left_out(spec: ModelSpec, refs: list[ClipRef], tmp_path: Path) -> None:
    broken = ClipRef(tmp_path / "no.mp4", "walk", "x")
    assert fit(model_of(spec), [*refs, broken]).clips == len(refs)


def test_a_probe_needs_a_start(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"probe .* needs a start"):
        TrainConfig.model_validate(settings | {"probe": {}, "start": None})


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
    again = settings | {"probe": {"strength": 1.0}, "start": str(tmp_path / "first.pth"), "data": data}
    loop.train(TrainConfig.model_validate(again), tmp_path / "second", Console(width=200))
    assert "classifier fitted to 7 clips" in capsys.readouterr().out
