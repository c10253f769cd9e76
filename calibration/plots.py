"""Pictures of a calibration, as SVG."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from calibration.scores import ScoreCalibration
from calibration.thresholds import Choice

_SIZE = (6.0, 4.2)  # inches


def reliability_svg(found: ScoreCalibration) -> bytes:
    """Share of right steps against their score, before and after, beside the line where both are the same."""
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="as it should be")
    for name, row in (
        (f"temperature {found.was:.2f}: ECE {found.before.ece:.3f}", found.before),
        (f"fitted on other groups ({found.temperature:.2f}): ECE {found.after.ece:.3f}", found.after),
    ):
        sizes = 10 + 200 * row.count / row.count.sum()
        (line,) = axes.plot(row.confidence, row.accuracy, linewidth=1)
        axes.scatter(row.confidence, row.accuracy, sizes, color=line.get_color(), label=name)
    axes.set(xlabel="score of the top label", ylabel="share of steps that are right", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left")
    return _svg(figure)


def thresholds_svg(choice: Choice, budget_per_day: float) -> bytes:
    """Recall against false events a day along the path; without labelled clips, the path itself."""
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    per_day = np.array([point.per_day for point in choice.path])
    bounds = np.array([point.bound_per_day for point in choice.path])
    with_recall = choice.point.recall is not None
    height = [point.recall if point.recall is not None else i for i, point in enumerate(choice.path)]
    axes.plot(per_day, height, marker=".", label=f"counted on {choice.hours:.3g} h")
    axes.plot(bounds, height, linestyle="--", label="95 % upper bound")
    axes.axvline(budget_per_day, color="0.5", linewidth=1, label=f"budget {budget_per_day:.3g}/day")
    axes.scatter([bounds[choice.chosen]], [height[choice.chosen]], 60, color="black", zorder=3, label="chosen")
    axes.set_xscale("symlog", linthresh=max(float(bounds.min()) / 10, 1e-6))
    axes.set(xlabel="false events a day", ylabel="recall on labelled clips" if with_recall else "strict to loose, step")
    axes.legend()
    return _svg(figure)


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "swinstream"}):  # the same picture is the same file
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
