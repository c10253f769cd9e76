from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.train.ucf101_files import write_lists
from train.config import TrainError
from train.data.config import DataConfig
from train.data.split import find_split

ACTIONS = ("jump", "walk")


def folders(root: Path, clips: dict[str, int]) -> Path:
    """Empty files: here only names count."""
    for label, count in clips.items():
        (root / label).mkdir(parents=True)
        for n in range(count):
            (root / label / f"{n}.mp4").touch()
    return root


def table(path: Path, rows: list[tuple[str, str, str]]) -> str:
    path.write_text("path,label,group\n" + "".join(f"{','.join(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def data(**settings: Any) -> DataConfig:
    return DataConfig.model_validate(settings)


def test_a_share_is_held_out_of_every_label_by_whole_groups(tmp_path: Path) -> None:
    rows = [(f"{label}-{n}.mp4", label, f"g{n // 2}") for label in ACTIONS for n in range(20)]
    split = find_split(data(root=table(tmp_path / "a.csv", rows), layout="csv", validate_share=0.2), ACTIONS)
    held = Counter(ref.label for ref in split.validation)
    assert all(4 <= held[label] <= 8 for label in ACTIONS)
    assert not {ref.group for ref in split.train} & {ref.group for ref in split.validation}
    assert len(split.train) + len(split.validation) == 40
    again = find_split(data(root=str(tmp_path / "a.csv"), layout="csv", validate_share=0.2), ACTIONS)
    assert again == split


def test_clips_of_none_come_from_their_folders_and_are_split_like_the_others(tmp_path: Path) -> None:
    root = folders(tmp_path, {"jump": 2, "walk": 2, "none": 2, "idle": 3})
    split = find_split(data(root=str(root), none_folders=["idle"], exclude_groups=["idle/1.mp4"]), ACTIONS)
    assert Counter(ref.label for ref in split.train) == {"jump": 2, "walk": 2, "none": 4}


def test_a_second_root_is_measured_on(tmp_path: Path) -> None:
    root, other = folders(tmp_path / "train", {"jump": 2, "walk": 2}), folders(tmp_path / "val", {"jump": 1, "walk": 1})
    (other / "split.csv").write_text("path,group\njump/0.mp4,anna\nwalk/0.mp4,anna\n")
    split = find_split(data(root=str(root), validate_root=str(other)), ACTIONS)
    assert len(split.train) == 4
    assert {ref.group for ref in split.validation} == {"anna"}


def test_a_group_on_both_sides_is_named(tmp_path: Path) -> None:
    train = table(tmp_path / "train.csv", [("a.mp4", "jump", "anna"), ("b.mp4", "walk", "ben")])
    held = table(tmp_path / "held.csv", [("c.mp4", "jump", "carla"), ("d.mp4", "walk", "ben")])
    with pytest.raises(TrainError, match="group ben is both trained and measured on"):
        find_split(data(root=train, layout="csv", validate_root=held), ACTIONS)


def test_an_official_list_that_crosses_a_group_is_refused(tmp_path: Path) -> None:
    write_lists(tmp_path, ACTIONS, groups=(1, 8))
    test = tmp_path / "ucfTrainTestlist" / "testlist01.txt"
    test.write_text(test.read_text() + "walk/v_walk_g08_c02.avi\n")
    with pytest.raises(TrainError, match="group walk_g08 is both trained and measured on"):
        find_split(data(root=str(tmp_path), layout="ucf101"), ACTIONS)


def test_a_label_on_one_side_only(tmp_path: Path) -> None:
    rows = [("a.mp4", "jump", "anna"), ("b.mp4", "walk", "anna"), ("c.mp4", "jump", "ben")]
    settings = {"root": table(tmp_path / "a.csv", rows), "layout": "csv"}
    with pytest.raises(TrainError, match="no clip of walk is among those to measure on"):
        find_split(data(**settings, validate_groups=["ben"]), ACTIONS)
    with pytest.raises(TrainError, match="no clip is left for walk"):
        find_split(data(**settings, validate_groups=["anna"]), ACTIONS)


def test_a_label_with_one_clip(tmp_path: Path) -> None:
    root = str(folders(tmp_path, {"jump": 1, "walk": 3}))
    split = find_split(data(root=root), ACTIONS)
    assert split.notes == [f"{root}: one clip only to train jump on; it will be learned by heart"]
    with pytest.raises(TrainError, match=r"label 'jump' has one group only \(jump/0.mp4\)"):
        find_split(data(root=root, validate_share=0.3), ACTIONS)


def test_no_clips_and_labels_that_the_model_lacks(tmp_path: Path) -> None:
    root = folders(tmp_path, {"jump": 1, "walk": 0})
    with pytest.raises(TrainError, match="no clips for label 'walk'"):
        find_split(data(root=str(root)), ACTIONS)
    rows = [("a.mp4", "jump", "1"), ("b.mp4", "walk", "2"), ("c.mp4", "swim", "3"), ("d.mp4", "swim", "4")]
    split = find_split(data(root=table(tmp_path / "a.csv", rows), layout="csv"), ACTIONS)
    assert len(split.train) == 2
    assert split.notes[0].endswith("2 clips are of labels that the model does not have: swim")


def test_clips_to_measure_on_come_from_one_place() -> None:
    with pytest.raises(ValueError, match="not from validate_groups and validate_share"):
        data(root="a", validate_groups=["x"], validate_share=0.2)
    with pytest.raises(ValueError, match="none_folders belongs to layout: folders"):
        data(root="a", layout="csv", none_folders=["x"])
