"""RunFolder: what a training run leaves on disk.

config.yaml       as resolved            environment.json   versions, processor, command; an entry a start
metrics.csv       a row a step           tensorboard/       the same for TensorBoard
curves.png        loss, accuracy, rate   confusion.csv/png  of the validation clips
last.safetensors  where it goes on       best.safetensors   the best validation's weights
bundle/           the finished model
"""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from stream.lock import FileLock, LockedError
from train.config import TrainConfig, TrainError
from train.evaluate import ClipReport
from train.plots import plot_confusion, plot_curves

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class RunFolder:
    """Paths of a run's files, and those that are not written step by step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "last.safetensors"
        self.best = path / "best.safetensors"
        self.metrics = path / "metrics.csv"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if need be, and keep other processes from training in it.

        Raises TrainError: it can't be made, another process trains in it, or its disk is full.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
        except LockedError as error:
            who = f"process {error.holder}" if error.holder else "another process"
            raise TrainError(f"{self.path}: {who} trains in this folder; choose another with --run") from None
        except OSError as error:
            raise TrainError(f"{self.path}: can't be written to: {error.strerror}") from error
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise TrainError(
                f"{self.path}: {error.strerror}: training stopped; free some space, then start the same command again: "
                "it goes on from the last checkpoint"
            ) from error
        finally:
            lock.release()

    def describe(self, config: TrainConfig, environment: dict[str, object]) -> None:
        """Write config.yaml, and add this start to environment.json."""
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        _write(self.path / "config.yaml", text)
        starts = self.path / "environment.json"
        try:
            earlier = json.loads(starts.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            earlier = []
        _write(starts, json.dumps([*earlier, environment], indent=1) + "\n")

    def write_confusion(self, report: ClipReport) -> None:
        matrix = report.confusion()
        with open(self.path / "confusion.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["true", *report.labels])
            writer.writerows([label, *row] for label, row in zip(report.labels, matrix.tolist(), strict=True))
        plot_confusion(matrix, report.labels, self.path / "confusion.png")

    def draw_curves(self) -> None:
        plot_curves(self.metrics, self.path / "curves.png")


def _write(path: Path, text: str) -> None:
    """Old file or new, never half."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
