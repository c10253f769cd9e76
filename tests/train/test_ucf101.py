from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.bundle import Bundle
from tests.train.ucf101_files import LABELS, TEST_GROUPS, write_lists, write_ucf101
from train.bundle import make_bundle
from train.config import TrainConfig, TrainError
from train.data.clips import data_root
from train.data.sequences import SequenceDataset
from train.data.split import find_split
from train.data.ucf101 import find_ucf101, ucf101_labels
from train.evaluate_command import evaluate
from train.loop import train
from train.measurement import Wanted
from train.selection import select_split

QUIET = Console(quiet=True)


@pytest.mark.parametrize("split", [1, 2, 3])
def test_official_splits_never_cross_a_group(tmp_path: Path, split: int) -> None:
    write_lists(tmp_path, clips_per_group=2)
    training, test = find_ucf101(tmp_path, split)
    assert len(training) == 101 * 18 * 2
    assert len(test) == 101 * 7 * 2
    assert not {ref.group for ref in training} & {ref.group for ref in test}
    assert {ref.group for ref in test} == {f"{label}_g{n:02d}" for label in LABELS for n in TEST_GROUPS[split]}
    assert ucf101_labels(tmp_path) == LABELS


def test_lists_and_videos_may_lie_side_by_side(tmp_path: Path) -> None:
    write_lists(tmp_path, groups=(1, 8))
    (tmp_path / "UCF-101").mkdir()
    beside, above = find_ucf101(tmp_path / "UCF-101", 1), find_ucf101(tmp_path, 1)
    assert beside == above
    assert beside[0][0].path == tmp_path / "UCF-101" / "Action000" / "v_Action000_g08_c01.avi"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("classInd.txt", "2 Action001", "3 Action001", r"classInd\.txt:2: expected `2 <label>`"),
        ("trainlist01.txt", "Action001/", "Unheard/", r"trainlist01\.txt:2: label 'Unheard' is not in classInd"),
        ("testlist01.txt", "_g01_", "_gone_", r"testlist01\.txt:1: expected `<label>/v_<name>_g01_c01\.avi`"),
    ],
)
def test_a_damaged_list_is_told_with_its_line(tmp_path: Path, file: str, old: str, new: str, told: str) -> None:
    write_lists(tmp_path, groups=(1, 8))
    edit(tmp_path / "ucfTrainTestlist" / file, old, new)
    with pytest.raises(TrainError, match=told):
        find_ucf101(tmp_path, 1)


def test_missing_lists_are_told(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="lists are missing: unpack its ucfTrainTestlist"):
        find_ucf101(tmp_path, 1)
    write_lists(tmp_path, groups=(1, 8))
    (tmp_path / "ucfTrainTestlist" / "testlist02.txt").unlink()
    with pytest.raises(TrainError, match=r"testlist02\.txt: cannot be read: No such file"):
        find_ucf101(tmp_path, 2)


def ucf101_settings(settings: dict[str, Any], root: Path, labels: tuple[str, ...]) -> dict[str, Any]:
    mix = {"drawn": 0, "none": 0, "action_s": None, "freeze": 0}
    return settings | {
        "model": settings["model"] | {"labels": [*labels, "none"]},
        "data": {"root": str(root), "layout": "ucf101", "augment": {"kind": "paper"}},
        "phases": [{"steps": 1, "batch": 2, "windows": 2, "mix": mix}],
    }


def test_the_whole_layout_trained_on_and_measured(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step of training, and the published protocol on an official test list."""
    root = write_ucf101(tmp_path / "ucf")
    (root / LABELS[5] / f"v_{LABELS[5]}_g08_c01.avi").write_bytes(b"not a video")
    edit(root / "ucfTrainTestlist" / "trainlist01.txt", "\n", f"\n{LABELS[5]}/v_{LABELS[5]}_g09_c01.avi 6\n")
    shutil.copy(root / "sample.avi", root / LABELS[5] / f"v_{LABELS[5]}_g09_c01.avi")
    config = TrainConfig.model_validate(ucf101_settings(settings, root, LABELS))
    dataset = SequenceDataset(config)
    assert len(dataset.refs) == 101
    assert [clip.ref.group for clip in dataset.skipped] == [f"{LABELS[5]}_g08"]
    assert len(find_split(config.data, LABELS).validation) == 101
    make_bundle(train(config, tmp_path / "run", QUIET), config, tmp_path / "bundle")

    wanted = Wanted(root, split=2, views=1)  # its test list has the groups 8 to 14
    assert evaluate(str(tmp_path / "bundle"), wanted, None, as_json=True) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [found[key] for key in ("clips", "unreadable", "views", "views_crops")] == [100, 1, 1, 3]
    assert 0 <= found["views_top1"] <= found["views_top5"] <= 1
    assert f"v_{LABELS[5]}_g08_c01.avi" in said.err


@pytest.mark.needs_data
def test_real_files_trained_on_and_measured(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two files that there are stand for a training and a test group each."""
    labels = ("ApplyEyeMakeup", "BaseballPitch")
    root = tmp_path / "ucf"
    root.mkdir()
    write_lists(root, labels, groups=(1, 8))
    for label in labels:
        (root / label).mkdir()
        real = data_root() / "ucf101" / f"v_{label}_g01_c01.avi"
        for group in ("g01", "g08"):
            (root / label / f"v_{label}_{group}_c01.avi").symlink_to(real)
    config = TrainConfig.model_validate(ucf101_settings(settings, root, labels))
    dataset = SequenceDataset(config)
    assert not dataset.skipped
    assert {ref.label for ref in dataset.refs} == set(labels)
    make_bundle(train(config, tmp_path / "run", QUIET), config, tmp_path / "bundle")

    assert evaluate(str(tmp_path / "bundle"), Wanted(root, split=1, views=4), None, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found[key] for key in ("clips", "unreadable", "views", "views_crops")] == [2, 0, 4, 3]


def test_a_split_and_a_model_of_other_labels(motion_bundle: Bundle, tmp_path: Path) -> None:
    """Of the official test list only what the model has a label for counts; folders play no part."""
    write_lists(tmp_path, ("move", "Typing"), groups=(1, 8))
    chosen = select_split(tmp_path, motion_bundle.spec, 1)
    assert [(ref.label, ref.group) for ref in chosen.refs] == [("move", "move_g01")]
    assert chosen.notes == (f"{tmp_path}: left out, for model 'motion' has no such label: Typing",)
    assert select_split(tmp_path, motion_bundle.spec, 2, ["move_g08"]).refs[0].group == "move_g08"
    with pytest.raises(TrainError, match="no clips of group x"):
        select_split(tmp_path, motion_bundle.spec, 1, ["x"])


def test_a_split_without_a_label_of_the_model(motion_bundle: Bundle, tmp_path: Path) -> None:
    write_lists(tmp_path, ("Typing", "YoYo"), groups=(1, 8))
    with pytest.raises(TrainError, match="model 'motion' has no label of split 1; there are Typing, YoYo"):
        select_split(tmp_path, motion_bundle.spec, 1)


def test_a_split_has_no_none_folders(motion_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = Wanted(tmp_path, split=1, none_folders=("still",))
    assert evaluate(str(motion_bundle.path), wanted, None, as_json=True) == 2
    assert "--none says what folders hold" in capsys.readouterr().err
