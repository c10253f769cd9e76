from __future__ import annotations

from pathlib import Path

import pytest

from train.config import TrainError
from train.data.clips import ClipRef
from train.data.table import read_table


def table(folder: Path, *lines: str) -> Path:
    path = folder / "clips.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_lines_are_clips(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "path,label,start_s,end_s,group",
        "a.mp4,walk,1.5,4,anna",
        "a.mp4, none ,,,anna",
        "/far/b.mp4,walk,,2,",
    )
    assert read_table(path) == [
        ClipRef(tmp_path / "a.mp4", "walk", "anna", 1.5, 4.0),
        ClipRef(tmp_path / "a.mp4", "none", "anna"),
        ClipRef(Path("/far/b.mp4"), "walk", "/far/b.mp4", 0.0, 2.0),
    ]


def test_times_and_group_are_as_you_like(tmp_path: Path) -> None:
    refs = read_table(table(tmp_path, "label,path", "walk,a.mp4", "walk,b.mp4"))
    assert [(ref.group, ref.start_s, ref.end_s) for ref in refs] == [("a.mp4", 0.0, None), ("b.mp4", 0.0, None)]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["path,class", "a.mp4,walk"], "its columns are .*; expected path, label, start_s"),
        (["path,label"], "has no clips"),
        (["path,label", "a.mp4,"], "clips.csv:2: path and label must not be empty"),
        (["path,label,start_s", "a.mp4,walk,soon"], "clips.csv:2: start_s is 'soon'; expected seconds"),
        (["path,label,end_s", "a.mp4,walk,-1"], "clips.csv:2: end_s is '-1'"),
        (["path,label,start_s,end_s", "a.mp4,walk,3,3"], "clips.csv:2: end_s 3 is not after start_s 3"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, lines: list[str], told: str) -> None:
    with pytest.raises(TrainError, match=told):
        read_table(table(tmp_path, *lines))


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="cannot be read: No such file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainError, match="not a CSV table in UTF-8"):
        read_table(tmp_path / "binary.csv")
