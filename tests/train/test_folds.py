"""Cross-validation: whole groups are left out, measured on once, and a fold that is done is not done again."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import left_out_events
from train.config import FoldsConfig, TrainConfig, TrainError
from train.data.clips import ClipRef
from train.folds import find_folds, run_folds, show_folds
from train.online import trace


def refs() -> list[ClipRef]:
    """40 clips of two labels in ten groups of different sizes."""
    sizes = [7, 1, 5, 3, 4, 6, 2, 4, 5, 3]
    clips = []
    for group, size in enumerate(sizes):
        clips += [ClipRef(Path(f"{group}-{n}"), "ab"[(group + n) % 2], f"g{group}") for n in range(size)]
    return clips


def test_named_groups() -> None:
    folds = find_folds(FoldsConfig(leave_out=(("g1",), ("g2", "g3"))), refs())
    assert [(fold.name, fold.groups) for fold in folds] == [("g1", ("g1",)), ("g2-g3", ("g2", "g3"))]
    with pytest.raises(TrainError, match="no clip is of group"):
        find_folds(FoldsConfig(leave_out=(("who",),)), refs())


def test_dealt_folds_hold_every_group_once_and_are_always_the_same() -> None:
    folds = find_folds(FoldsConfig(count=3), refs())
    groups = [group for fold in folds for group in fold.groups]
    assert sorted(groups) == [f"g{i}" for i in range(10)]
    assert find_folds(FoldsConfig(count=3), list(reversed(refs()))) == folds
    assert find_folds(FoldsConfig(count=3, only=(1,)), refs()) == [folds[1]]
    with pytest.raises(TrainError, match="only 10 groups"):
        find_folds(FoldsConfig(count=11), refs())


@pytest.mark.parametrize("wrong", [{}, {"leave_out": [["a"]], "count": 2}, {"count": 1}, {"count": 3, "only": [3]}])
def test_what_makes_no_folds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"leave_out|count"):
        FoldsConfig.model_validate(wrong)


def test_every_group_is_left_out_of_its_training_and_measured_on(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["phases"] = settings["phases"][:1]
    config = TrainConfig.model_validate(settings | {"folds": {"leave_out": [["anna"], ["ben"]]}})
    console = Console(file=io.StringIO(), width=200)
    results = run_folds(config, tmp_path, console)
    assert [sorted(path for path, _, _ in result.clips) for result in results] == [
        ["walk/anna.mp4", "wave1/anna.mp4"],
        ["walk/ben.mp4", "wave1/ben.mp4"],
    ]
    for fold, other in (("anna", "ben"), ("ben", "anna")):
        kept = json.loads((tmp_path / f"fold-{fold}" / "left-out.json").read_text(encoding="utf-8"))
        assert [value for key, value in kept["identity"].items() if "exclude_groups" in key] == [fold]
        assert other not in str(kept["clips"])
    assert all(told in config.model.labels for result in results for _, _, told in result.clips)

    written = (tmp_path / "fold-anna" / "last.safetensors").stat().st_mtime_ns
    assert run_folds(config, tmp_path, console) == results
    assert (tmp_path / "fold-anna" / "last.safetensors").stat().st_mtime_ns == written

    out = Console(file=io.StringIO(), width=200)
    show_folds(results, out)
    right = sum(result.right for result in results)
    assert f"{right} of 4 clips" in out.file.getvalue()  # type: ignore[attr-defined]


def test_folds_are_no_part_of_what_a_run_is(settings: dict[str, Any]) -> None:
    folded = TrainConfig.model_validate(settings | {"folds": {"count": 2}})
    assert folded.identity == TrainConfig.model_validate(settings).identity


def test_events_on_left_out_clips_are_of_the_network_that_left_them_out(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """benchmarks/left_out_events: every clip once, by its own fold."""
    settings["phases"] = settings["phases"][:1]
    config = TrainConfig.model_validate(
        settings
        | {"folds": {"leave_out": [["anna"], ["ben"]]}, "thresholds": {"defaults": {"enter": 0.5, "min_duration_s": 0}}}
    )
    run_folds(config, tmp_path, Console(file=io.StringIO()))
    asked: list[tuple[str, str]] = []

    class Spied(left_out_events.TorchEngine):
        def __init__(self, model: Any) -> None:
            super().__init__(model)
            asked.append(("network", ""))

    def traced(engine: Any, path: Path) -> Any:
        asked.append(("clip", path.stem))
        return trace(engine, path)

    monkeypatch.setattr(left_out_events, "TorchEngine", Spied)
    monkeypatch.setattr(left_out_events, "trace", traced)
    never, always = left_out_events.measure(config, tmp_path, [1.0, 1e-6], Console(quiet=True))
    assert asked == [*[("network", ""), *[("clip", "anna")] * 2], *[("network", ""), *[("clip", "ben")] * 2]]
    assert (never["actions"], never["actions_told"], never["none"]) == (4, 0, 0)
    assert always["actions_told"] > 0
