"""Tables of clips: a CSV with the columns `path, label, start_s, end_s, group`, the last three as you like.

It covers lists as Kinetics has them and timed footage: one file may stand in several lines. Paths are taken from the
table's folder. Without a group every file is one of its own, so that no two stretches of a file are ever split.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from train.config import TrainError
from train.data.clips import ClipRef

COLUMNS = ("path", "label", "start_s", "end_s", "group")


def read_table(table: Path) -> list[ClipRef]:
    """Every line as a clip, whether or not its file is there. Raises TrainError, which names table and line."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = set(reader.fieldnames or ())
            if not {"path", "label"} <= columns or columns - set(COLUMNS):
                raise TrainError(f"{table}: its columns are {sorted(columns)}; expected {', '.join(COLUMNS)}")
            refs = [_clip(table, reader.line_num, row) for row in reader]
    except OSError as error:
        raise TrainError(f"{table}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainError(f"{table}: not a CSV table in UTF-8: {error}") from None
    if not refs:
        raise TrainError(f"{table}: the table has no clips")
    return refs


def _clip(table: Path, line: int, row: dict[str, str | None]) -> ClipRef:
    path, label = (row["path"] or "").strip(), (row["label"] or "").strip()
    if not path or not label:
        raise TrainError(f"{table}:{line}: path and label must not be empty")
    start_s = _seconds(table, line, row, "start_s")
    end_s = _seconds(table, line, row, "end_s")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise TrainError(f"{table}:{line}: end_s {end_s:g} is not after start_s {start_s or 0:g}")
    group = (row.get("group") or "").strip() or path
    return ClipRef(table.parent / path, label, group, start_s or 0.0, end_s)


def _seconds(table: Path, line: int, row: dict[str, str | None], column: str) -> float | None:
    text = (row.get(column) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise TrainError(f"{table}:{line}: {column} is {text!r}; expected seconds from the file's start")
    return value
