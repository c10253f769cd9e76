from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.train.ucf101_files import LABELS, TEST_GROUPS, write_lists, write_ucf101
from train.config import TrainConfig, TrainError
from train.data.clips import data_root
from train.data.sequences import SequenceDataset
from train.data.split import find_split
from train.data.ucf101 import find_ucf101, ucf101_labels
from train.loop import train

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


def test_a_step_of_training_on_the_whole_layout(settings: dict[str, Any], tmp_path: Path) -> None:
    root = write_ucf101(tmp_path / "ucf")
    (root / LABELS[5] / f"v_{LABELS[5]}_g08_c01.avi").write_bytes(b"not a video")
    edit(root / "ucfTrainTestlist" / "trainlist01.txt", "\n", f"\n{LABELS[5]}/v_{LABELS[5]}_g09_c01.avi 6\n")
    shutil.copy(root / "sample.avi", root / LABELS[5] / f"v_{LABELS[5]}_g09_c01.avi")
    config = TrainConfig.model_validate(ucf101_settings(settings, root, LABELS))
    dataset = SequenceDataset(config)
    assert len(dataset.refs) == 101
    assert [clip.ref.group for clip in dataset.skipped] == [f"{LABELS[5]}_g08"]
    assert len(find_split(config.data, LABELS).validation) == 101
    train(config, tmp_path / "run", QUIET)
    assert (tmp_path / "run" / "last.safetensors").exists()


@pytest.mark.needs_data
def test_a_step_of_training_on_real_files(settings: dict[str, Any], tmp_path: Path) -> None:
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
    train(config, tmp_path / "run", QUIET)
    assert (tmp_path / "run" / "last.safetensors").exists()
