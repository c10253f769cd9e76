"""Quiet footage: timed segments of real people who do nothing that a model names, for its `none`.

Read from tables like those of GMDCSA-24: a column `File Name`, a column `Classes` with
`Sitting[0 to 3.4]; Walking[3.4 to 6]`; the videos lie in a folder named like the table, `Subject1_ADL.csv` ->
`ADL/Subject1_01.mp4`.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from engine.spec import NONE_LABEL
from train.config import TrainError
from train.data.clips import VIDEO_SUFFIXES, ClipRef, videos_at

# What people do in place. A segment that overlaps any other activity is left out.
STILL_ACTIVITIES = {"sitting", "sleeping", "reading", "standing"}
SEGMENT = re.compile(r"(?P<name>[A-Za-z ]+?)\s*(?:\([A-Z]+\))?\s*\[(?P<start>[\d.]+) to (?P<end>[\d.]+)\]")


def quiet_segments(classes: str) -> list[tuple[float, float]]:
    """(start_s, end_s) of the segments, at least 1.5 s long, in which only still activities go on."""
    found = [(m["name"].strip().lower(), float(m["start"]), float(m["end"])) for m in SEGMENT.finditer(classes)]
    busy = [(start, end) for name, start, end in found if name not in STILL_ACTIVITIES]
    return [
        (start, end)
        for name, start, end in found
        if name in STILL_ACTIVITIES
        and end - start >= 1.5
        and not any(start < busy_end and busy_start < end for busy_start, busy_end in busy)
    ]


def find_quiet_clips(path: Path) -> list[ClipRef]:
    """A video, or all below a folder; each is a group of its own. Raises TrainError for a folder without any."""
    files = videos_at(path)
    if not files:
        raise TrainError(f"data.quiet_clips: {path} has no videos in it ({', '.join(sorted(VIDEO_SUFFIXES))})")
    return [ClipRef(file, NONE_LABEL, file.stem) for file in files]


def find_quiet(tables: list[Path]) -> list[ClipRef]:
    """Quiet stretches of all tables, each once.

    A row whose video is not there is left out: a part of the data set is allowed. Raises TrainError for a table that is
    not there, or of which no video is.
    """
    refs = []
    for table in tables:
        if not table.exists():
            raise TrainError(f"{table}: no such table of quiet segments")
        subject, kind = table.stem.split("_")
        videos = 0
        with open(table, newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file, skipinitialspace=True):
                path = table.parent.parent / kind / f"{subject}_{row['File Name'].strip()}"
                if path.exists():
                    videos += 1
                    segments = quiet_segments(row.get("Classes") or "")
                    refs += [ClipRef(path, NONE_LABEL, subject, start, end) for start, end in segments]
        if not videos:
            raise TrainError(f"{table}: none of its videos is in {table.parent.parent / kind}")
    return list(dict.fromkeys(refs))  # the published tables name a video twice
