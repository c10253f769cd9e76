from __future__ import annotations

from pathlib import Path

import pytest

from train.config import TrainError
from train.data.quiet import find_quiet, quiet_segments


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
    table.write_text("File Name,Classes\n01.mp4, Sitting[0 to 4]\n02.mp4, Sitting[0 to 4]\n", encoding="utf-8")
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
