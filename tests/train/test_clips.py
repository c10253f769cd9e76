from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from train.config import TrainError
from train.data.clips import ClipRef, find_clips, load_footage


def test_clips_have_their_labels_and_groups(clips: Path) -> None:
    refs = find_clips(clips, ("walk", "wave1"))
    assert [(ref.label, ref.group) for ref in refs] == [
        ("walk", "anna"),
        ("walk", "ben"),
        ("wave1", "anna"),
        ("wave1", "ben"),
    ]


def test_without_a_split_every_clip_is_its_own_group(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips / "walk", tmp_path / "walk")
    assert len({ref.group for ref in find_clips(tmp_path, ("walk",))}) == 2


def test_missing_folder_and_missing_label_are_named(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="no such folder"):
        find_clips(tmp_path / "nowhere", ("walk",))
    with pytest.raises(TrainError, match="no clips for label 'run'"):
        find_clips(clips, ("walk", "run"))


def test_a_split_without_its_columns_is_told(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips / "walk", tmp_path / "walk")
    (tmp_path / "split.csv").write_text("file,subject\nwalk/anna.mp4,anna\n", encoding="utf-8")
    with pytest.raises(TrainError, match=r"split\.csv: it has no column 'path'; expected"):
        find_clips(tmp_path, ("walk",))


def test_footage_is_decoded_with_its_times(clips: Path) -> None:
    footage = load_footage(ClipRef(clips / "walk" / "anna.mp4", "walk", "anna"), max_height=1000)
    assert footage.y.shape == (30, 128, 160)
    assert footage.u.shape == footage.v.shape == (30, 64, 80)
    assert footage.pts_s[0] == 0
    assert footage.fps == pytest.approx(15, abs=0.01)


def test_high_pictures_are_halved_and_segments_cut(clips: Path) -> None:
    ref = ClipRef(clips / "walk" / "anna.mp4", "walk", "anna", start_s=0.5, end_s=1.0)
    footage = load_footage(ref, max_height=100)
    assert footage.y.shape[1:] == (64, 80)
    assert footage.u.shape[1:] == (32, 40)
    assert 6 <= len(footage.y) <= 9


def test_a_segment_without_pictures_is_told(clips: Path) -> None:
    with pytest.raises(TrainError, match="only 0 frames"):
        load_footage(ClipRef(clips / "walk" / "anna.mp4", "walk", "anna", start_s=60), max_height=100)
