from __future__ import annotations

from pathlib import Path

import pytest

from engine.spec import ModelSpec
from train.config import TrainError
from train.selection import select_clips


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("walk/a1.mp4", "walk/b1.mp4", "stand/a2.mp4", "none/b2.avi", "notes/read.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rows = ["path,group", "walk/a1.mp4,a", "walk/b1.mp4,b", "stand/a2.mp4,a", "none/b2.avi,b"]
    (tmp_path / "split.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def test_folders_of_labels_are_taken_and_others_told(data: Path, spec: ModelSpec) -> None:
    """`wave1` has no folder, which is fine; `notes` has no clips, which is nothing to tell."""
    found = select_clips(data, spec)
    assert [(ref.path.name, ref.label) for ref in found.refs] == [
        ("b2.avi", "none"),
        ("a1.mp4", "walk"),
        ("b1.mp4", "walk"),
    ]
    (note,) = found.notes
    assert "stand: left out" in note
    assert "--none stand" in note


def test_a_folder_may_be_said_to_be_none(data: Path, spec: ModelSpec) -> None:
    found = select_clips(data, spec, none_folders=["stand"])
    assert {ref.path.name: ref.label for ref in found.refs}["a2.mp4"] == "none"
    assert len(found.refs) == 4
    assert found.notes == (f"{data / 'stand'}: counted as none",)


def test_to_a_model_of_one_action_all_else_is_none(data: Path, spec: ModelSpec) -> None:
    one = spec.model_copy(update={"labels": ("walk", "none")})
    assert sorted(ref.label for ref in select_clips(data, one).refs) == ["none", "none", "walk", "walk"]


def test_groups(data: Path, spec: ModelSpec) -> None:
    assert [ref.path.name for ref in select_clips(data, spec, groups=["b"]).refs] == ["b2.avi", "b1.mp4"]
    with pytest.raises(TrainError, match="no clips of group c; there are a, b"):
        select_clips(data, spec, none_folders=["stand"], groups=["a", "c"])


def test_mistakes_say_what_there_is(data: Path, spec: ModelSpec) -> None:
    with pytest.raises(TrainError, match="no such folder; clips lie in a folder per label"):
        select_clips(data / "nowhere", spec)
    with pytest.raises(TrainError, match="no folder 'Stand' with clips; there are none, stand, walk"):
        select_clips(data, spec, none_folders=["Stand"])
    other = spec.model_copy(update={"labels": ("fight", "fall", "none")})
    (data / "none/b2.avi").unlink()
    with pytest.raises(TrainError, match="no folder is a label of model 'tiny'; it knows fight, fall, none"):
        select_clips(data, other)
