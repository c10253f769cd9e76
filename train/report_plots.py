"""Plots of an evaluation as PNG files: events in continuous footage, and how late they were told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.softmax import softmax
from engine.spec import NONE_LABEL
from stream.demo.score import Span
from train.detection import EventReport
from train.films import Film
from train.online import OnlineEvent, Trace

IOU_RANGE = np.linspace(0.05, 0.95, 19)


def plot_precision_recall(reports: Mapping[str, EventReport], path: Path) -> None:
    """Event precision and recall over the temporal IoU that is asked for; one pair of lines a report."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for number, (name, report) in enumerate(reports.items()):
        matched = [report.match(float(threshold)) for threshold in IOU_RANGE]
        axes.plot(IOU_RANGE, [m.recall for m in matched], f"C{number}-", label=f"recall, {name}")
        axes.plot(IOU_RANGE, [m.precision for m in matched], f"C{number}--", label=f"precision, {name}")
    axes.set(xlabel="temporal IoU at least", ylabel="share", ylim=(0, 1.03), xlim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def plot_delays(reports: Mapping[str, EventReport], path: Path) -> None:
    """How long after its first frame an action was known."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    delays = {name: report.delays_s() for name, report in reports.items()}
    longest = max((max(of, default=0.0) for of in delays.values()), default=0.0)
    axes.hist(list(delays.values()), bins=list(np.arange(0, max(3.0, longest) + 0.25, 0.25)), label=list(delays))
    axes.set(xlabel="seconds from the action's first frame to its event", ylabel="actions")
    axes.legend()
    figure.savefig(path, dpi=110)


def plot_timeline(
    film: Film, traced: Trace, told: Mapping[str, Sequence[OnlineEvent]], temperature: float, path: Path
) -> None:
    """A film's scores over time, and below them what was true and what was told."""
    labels = traced.spec.labels
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    scores, bars = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1 + 0.4 * len(told)))
    seconds = traced.steps_ns / 1e9
    values = softmax(traced.logits.reshape(-1, len(labels)) / np.float32(temperature))
    colours = {label: f"C{i % 10}" for i, label in enumerate(labels[:-1])} | {NONE_LABEL: "black"}
    for column, label in enumerate(labels):
        scores.plot(
            seconds, values[:, column], color=colours[label], label=label, lw=0.5 if label == NONE_LABEL else 1.2
        )
    scores.set(ylabel="score", ylim=(0, 1.02))
    figure.legend(title=film.name, ncols=min(len(labels), 12), fontsize=7, loc="outside upper center")
    rows = {"true": list(film.truth)} | {name: [event.span for event in events] for name, events in told.items()}
    for row, spans in enumerate(rows.values()):
        for span in spans:
            _bar(bars, row, span, colours[span.label])
    bars.set_yticks(range(len(rows)), list(rows))
    bars.invert_yaxis()
    bars.set(xlabel="seconds", xlim=(0, film.seconds))
    figure.savefig(path, dpi=110)


def _bar(axes: Axes, row: int, span: Span, colour: str) -> None:
    if span.label == NONE_LABEL:
        return
    start_s, end_s = span.start_ns / 1e9, (span.end_ns or span.start_ns) / 1e9
    axes.barh(row, end_s - start_s, left=start_s, color=colour, height=0.8)
    axes.text((start_s + end_s) / 2, row, span.label, ha="center", va="center", fontsize=7)
