"""Metrics of a run, a row a step: in metrics.csv, which everything reads, and for TensorBoard."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

COLUMNS = ("step", "loss", "accuracy", "lr", "validation_loss", "validation_top1", "validation_mean_class")


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The whole rows of a metrics.csv; one that a killed process left half written is not among them."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]
    return [row for row in csv.DictReader(lines) if (row.get("step") or "").isdigit()]


class Metrics:
    """Writes the metrics of a run that has finished `step` steps: what an earlier process wrote later is cut off."""

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / "metrics.csv"
        kept = [row for row in read_metrics(path) if int(row["step"]) <= step]
        part = path.with_suffix(".part")
        with open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)
        os.replace(part, path)
        self._file = open(path, "a", buffering=1, newline="", encoding="utf-8")  # noqa: SIM115
        self._writer = csv.DictWriter(self._file, COLUMNS, restval="")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._board.close()

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """What was measured at a step, by column."""
        self._writer.writerow({"step": step} | {name: f"{value:.9g}" for name, value in values.items()})
        for name, value in values.items():
            self._board.add_scalar(name.replace("validation_", "validation/"), value, step)

    def sync(self) -> None:
        """To the disk, so that a checkpoint never knows more steps than the file."""
        self._file.flush()
        os.fsync(self._file.fileno())
