from __future__ import annotations

from pathlib import Path

import pytest

from train.config import TrainError
from train.data.quiet import find_quiet, find_quiet_clips, quiet_segments


def test_only_long_still_segments_that_nothing_else_overlaps() -> None:
    assert quiet_segments("Sitting[0 to 3.4]; Walking[3.4 to 6]") == [(0, 3.4)]
    assert quiet_segments("Sitting[0 to 3.4]; Walking[3 to 6]") == []
    assert quiet_segments("Falling (SW)[3.4 to 6]; Sitting[0 to 3.4]") == [(0, 3.4)]
    assert quiet_segments("Standing[0 to 1]") == []
    assert quiet_segments("") == []


def test_a_table_names_its_videos(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "ADL").mkdir()
    table = tmp_path / "labels" / "Subject1_ADL.csv"
    rows = ["01.mp4, Sitting[0 to 4]", "02.mp4, Sitting[0 to 4]", "01.mp4, Sitting[0 to 4]"]
    table.write_text("\n".join(["File Name,Classes", *rows, ""]), encoding="utf-8")
    (tmp_path / "ADL" / "Subject1_01.mp4").touch()
    refs = find_quiet([table])
    assert [(r.path.name, r.label, r.group, r.start_s, r.end_s) for r in refs] == [
        ("Subject1_01.mp4", "none", "Subject1", 0.0, 4.0)
    ]


def test_a_table_without_any_of_its_videos_is_told(tmp_path: Path) -> None:
    table = tmp_path / "Subject1_ADL.csv"
    table.write_text("File Name,Classes\n01.mp4, Sitting[0 to 4]\n", encoding="utf-8")
    with pytest.raises(TrainError, match="none of its videos"):
        find_quiet([table])


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="no such table"):
        find_quiet([tmp_path / "x.csv"])


def test_a_folder_of_quiet_videos(tmp_path: Path) -> None:
    for name in ("a/1.mp4", "a/2.avi", "b/3.MP4", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [(ref.path.name, ref.label, ref.group) for ref in find_quiet_clips(tmp_path)] == [
        ("1.mp4", "none", "1"),
        ("2.avi", "none", "2"),
        ("3.MP4", "none", "3"),
    ]
    assert [ref.path.name for ref in find_quiet_clips(tmp_path / "a" / "1.mp4")] == ["1.mp4"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainError, match=r"data\.quiet_clips: .*empty has no videos in it"):
        find_quiet_clips(tmp_path / "empty")
