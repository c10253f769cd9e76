"""Plots of a run as PNG files: curves over the steps, and the confusion of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.metrics import read_metrics

SMOOTHED = 50  # at most so many points of a smoothed curve look independent


def plot_curves(metrics: Path, path: Path) -> None:
    """Loss, accuracy and learning rate over the steps of a metrics.csv, with what was measured on held-out clips."""
    rows = read_metrics(metrics)
    figure = Figure(figsize=(8, 9), layout="constrained")
    loss, accuracy, rate = figure.subplots(3, 1, sharex=True)
    _curve(loss, rows, "loss", "training")
    _points(loss, rows, "validation_loss", "validation (averaged weights)")
    _curve(accuracy, rows, "accuracy", "training, steps")
    _points(accuracy, rows, "validation_top1", "validation, clips (averaged weights)")
    rate.plot(*_series(rows, "lr"), color="tab:gray")
    for axes, name in ((loss, "loss"), (accuracy, "accuracy"), (rate, "learning rate")):
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    accuracy.set_ylim(0, 1.02)
    for axes in (loss, accuracy):
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    rate.set_xlabel("step")
    figure.savefig(path, dpi=110)


def _series(rows: Sequence[dict[str, str]], name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps and values where the column has any."""
    found = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
    return np.array([step for step, _ in found], np.int64), np.array([value for _, value in found], np.float64)


def _curve(axes: Axes, rows: Sequence[dict[str, str]], name: str, label: str) -> None:
    """Every step, pale, and a running mean over it."""
    steps, values = _series(rows, name)
    axes.plot(steps, values, color="tab:blue", alpha=0.2, linewidth=0.8)
    width = max(1, len(values) // SMOOTHED)
    if len(values) >= width:
        mean = np.convolve(values, np.full(width, 1 / width), mode="valid")
        axes.plot(steps[width - 1 :], mean, color="tab:blue", label=label)


def _points(axes: Axes, rows: Sequence[dict[str, str]], name: str, label: str) -> None:
    steps, values = _series(rows, name)
    if len(steps):
        axes.plot(steps, values, color="tab:orange", marker="o", markersize=4, label=label)


def plot_confusion(matrix: npt.NDArray[np.int64], labels: Sequence[str], path: Path) -> None:
    """matrix int64 [K+1, K+1]: clips by true label (row) and recognized label (column); a row's colour is its share."""
    size = max(4.0, 0.42 * len(labels) + 2)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="recognized", ylabel="true")
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(path, dpi=110)
