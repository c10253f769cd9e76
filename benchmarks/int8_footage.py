"""The footage on which `fight` was calibrated and checked in int8: surv_fight by label, and forty drawn minutes.

    python -m benchmarks.int8_footage FOLDER
    swinstream calibrate int8 fight --footage FOLDER/clips --footage FOLDER/drawn --out fight-int8

Clips are links into the data set, with noFight as `none`, so that a lost one of those counts too.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from rich.progress import track

from engine.spec import NONE_LABEL
from stream.demo.motions import ACTIONS
from stream.demo.record import render_mp4
from train.data.clips import data_root

FILMS, FILM_S, SEED = 40, 60.0, 9000
LABELS = {"fight": "fight", "noFight": NONE_LABEL}


def link_clips(data: Path, folder: Path) -> int:
    """By label, with their groups in split.csv; returns how many."""
    with (data / "split.csv").open(newline="", encoding="utf-8") as file:
        rows = [(Path(row["path"]), row["group"]) for row in csv.DictReader(file)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "split.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "group"))
        for path, group in rows:
            link = folder / LABELS[path.parent.name] / path.name
            link.parent.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to((data / path).resolve())
            writer.writerow((link.relative_to(folder).as_posix(), group))
    return len(rows)


def draw(path: Path, seed: int) -> None:
    """A minute of the drawn actor at everything."""
    rng = np.random.default_rng(seed)
    segments: list[tuple[str, float]] = []
    while sum(seconds for _, seconds in segments) < FILM_S:
        segments.append((str(rng.choice([*ACTIONS, NONE_LABEL])), float(rng.uniform(2, 6))))
    render_mp4(path, segments, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    clips = link_clips(data_root() / "surv_fight", folder / "clips")
    (folder / "drawn").mkdir(parents=True, exist_ok=True)
    for n in track(range(FILMS), "drawing"):
        draw(folder / f"drawn/{n:02d}.mp4", SEED + n)
    print(f"{folder}: {clips} clips and {FILMS} films")


if __name__ == "__main__":
    main()
