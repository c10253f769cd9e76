"""`swinstream calibrate int8 | scores | thresholds`. Each returns an exit code: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from calibration.footage import FootageError, Recording, find_recordings
from calibration.network import OpenVINONetwork
from calibration.observation import observe
from calibration.plots import reliability_svg, thresholds_svg
from calibration.poisson import CONFIDENCE, Budget, BudgetError
from calibration.rewrite import rewrite
from calibration.scores import Reliability, calibrate_scores
from calibration.thresholds import Choice, check_budget, choose_thresholds, merged
from calibration.trace import Trace
from engine.bundle import THRESHOLDS, Bundle
from stream.commands import FAILED, OK, USAGE, guarded, say
from stream.failure import SourceError
from stream.thresholds import Thresholds

STAGES = {
    "windows": "running f32 over the footage",
    "histograms": "collecting ranges",
    "ranges": "choosing ranges",
    "smoothing": "trying SmoothQuant",
    "sensitivity": "measuring each layer",
    "layers": "choosing layers",
    "check": "checking on other recordings",
    "traces": "running the network over the footage",
    "labels": "setting each label",
    "path": "walking from strict to loose",
}


class Stages:
    """A progress bar for each stage of a calibration, made when the stage is first heard of."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, left: int) -> None:
        """left: steps of the stage that are not done, the present one included."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(STAGES[stage], total=left)
        task = self._progress.tasks[self._tasks[stage]]
        self._progress.update(task.id, completed=max(0, (task.total or left) - left))


@contextlib.contextmanager
def stages(console: Console) -> Iterator[Stages]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield Stages(progress)


def int8(name: str, footage: Sequence[str], windows: int, minutes: float, out: Path | None) -> int:
    """`swinstream calibrate int8`."""
    from calibration.int8 import GRAPH, REPORT, REPORT_JSON, calibrate_int8, report_json, report_markdown

    err = Console(stderr=True)
    with guarded(err) as code:
        bundle = Bundle.load(name)
        try:
            recordings = find_recordings(footage, bundle.spec.labels)
            with stages(err) as progress:
                made = calibrate_int8(bundle, recordings, windows, minutes, progress)
        except FootageError as error:
            return say(err, error, USAGE)
        markdown = report_markdown(bundle, made)
        Console(highlight=False, soft_wrap=True).print(markdown, markup=False)
        if not made.passed:
            return say(err, "int8 does not decide as f32 does (see above); the bundle is as it was", FAILED)
        files = {GRAPH: made.found.graph, REPORT: markdown.encode(), REPORT_JSON: report_json(bundle, made).encode()}
        _told(err, rewrite(bundle, files, out), GRAPH)
        code[0] = OK
    return code[0]


def scores(name: str, data: Sequence[str], groups: Sequence[str], out: Path | None) -> int:
    """`swinstream calibrate scores`."""
    err = Console(stderr=True)
    with guarded(err) as code:
        bundle = Bundle.load(name)
        was = Thresholds.parse(bundle.thresholds).temperature
        try:
            found = calibrate_scores(_traces(bundle, _labelled(bundle, data, groups), err), was)
        except (FootageError, ValueError) as error:
            return say(err, error, USAGE)
        console = Console(highlight=False, soft_wrap=True)
        console.print(
            f"{found.clips} clips of {found.groups} groups. Expected calibration error {found.before.ece:.3f} before, "
            f"{found.after.ece:.3f} after; negative log-likelihood {found.before.nll:.3f} before, "
            f"{found.after.nll:.3f} after. After: each group with a temperature fitted on others."
        )
        if not found.helps:
            return say(err, f"no better temperature than {was:.3g}: the bundle is as it was", OK)
        thresholds = {**bundle.thresholds, "temperature": round(found.temperature, 4)}
        report = {
            "temperature": found.temperature,
            "was": was,
            "clips": found.clips,
            "groups": found.groups,
            **{f"{part}_{key}": value for part in ("before", "after") for key, value in _numbers(getattr(found, part))},
        }
        files = {
            THRESHOLDS: _yaml(thresholds),
            "scores.json": (json.dumps(report, indent=1) + "\n").encode(),
            "scores.svg": reliability_svg(found),
        }
        _told(err, rewrite(bundle, files, out), f"temperature {found.temperature:.3f} (was {was:.3g})")
        err.print(
            "Enter and exit scores were set for other scores: run `swinstream calibrate thresholds` now.",
            soft_wrap=True,
        )
        code[0] = OK
    return code[0]


def thresholds(
    name: str, quiet: Sequence[str], budget_text: str, data: Sequence[str], camera: str | None, out: Path | None
) -> int:
    """`swinstream calibrate thresholds`. camera: the bundle stays as it is, unless `out` names a copy."""
    err = Console(stderr=True)
    with guarded(err) as code:
        bundle = Bundle.load(name)
        present = Thresholds.parse(bundle.thresholds)
        try:
            budget = Budget.parse(budget_text)
            recordings = find_recordings(quiet, ())
            if live := [recording for recording in recordings if recording.live]:
                raise FootageError(f"{live[0].name}: quiet footage must be files that someone has looked through")
            clips = _labelled(bundle, data, ()) if data else []
            traces = _traces(bundle, recordings, err)
            check_budget(budget, traces)
            actions = [clip for clip in clips if clip.label in bundle.spec.actions]
            seen = _traces(bundle, actions, err) if actions else []
            with stages(err) as progress:
                choice = choose_thresholds(bundle.spec, present, traces, seen, budget, progress)
        except (FootageError, BudgetError) as error:
            return say(err, error, USAGE)
        _show(choice, budget)
        files = {
            THRESHOLDS: _yaml(merged(bundle.thresholds, choice.labels)),
            "thresholds.json": (json.dumps(_report(choice, budget), indent=1) + "\n").encode(),
            "thresholds.svg": thresholds_svg(choice, 24 * budget.per_hour),
        }
        if camera is None or out is not None:
            _told(err, rewrite(bundle, files, out), THRESHOLDS)
        if camera is not None:
            snippet = {"cameras": [{"name": camera, "events": {"labels": choice.labels}}]}
            err.print(
                f"In the configuration, beside the camera's `uri`:\n{yaml.safe_dump(snippet, sort_keys=False)}",
                markup=False,
                soft_wrap=True,
            )
        code[0] = OK
    return code[0]


def _labelled(bundle: Bundle, data: Sequence[str], groups: Sequence[str]) -> list[Recording]:
    """Recordings in folders that are named as the model's labels, of these groups if any are named."""
    found = [recording for recording in find_recordings(data, bundle.spec.labels) if recording.label is not None]
    if not found:
        example = f"{data[0].rstrip('/')}/{bundle.spec.labels[0]}"
        raise FootageError(f"{', '.join(data)}: no clips in folders named as the model's labels, such as {example}")
    if groups and not (found := [recording for recording in found if recording.camera in groups]):
        raise FootageError(f"{', '.join(data)}: no clips of group {', '.join(groups)}")
    return found


def _traces(bundle: Bundle, recordings: Sequence[Recording], err: Console) -> list[Trace]:
    """Of every recording that can be read; tells of the others. Raises FootageError where none can."""
    network = OpenVINONetwork(bundle.onnx().read_bytes(), bundle.spec)
    traces = []
    with stages(err) as progress:
        for left, recording in enumerate(recordings):
            progress("traces", len(recordings) - left)
            try:
                trace = Trace.of(recording, bundle.spec, observe(network, bundle.spec, recording))
            except SourceError as error:
                err.print(f"not counted: {recording.name}: {error}", markup=False, soft_wrap=True)
                continue
            if trace is not None:
                traces.append(trace)
    if not traces:
        raise FootageError("no recording could be read")
    return traces


def _show(choice: Choice, budget: Budget) -> None:
    console, point = Console(highlight=False, soft_wrap=True), choice.point
    recall = "" if point.recall is None else f" Recall on labelled clips {point.recall:.1%}."
    bursts = f" (they come in bursts of {choice.dispersion:.1f})" if choice.dispersion > 1 else ""
    console.print(
        f"{point.false_events} false events in {choice.hours:.3g} hours of quiet footage that set nothing: at most "
        f"{point.bound_per_day:,.1f}/day with {CONFIDENCE:.0%} confidence{bursts}; the budget is {budget.text}.{recall}"
    )
    for label, row in choice.labels.items():
        false = choice.by_label.get(label, 0)
        console.print(f"  {label:<16} enter {row['enter']:.4f}  exit {row['exit']:.4f}  false events {false}")


def _report(choice: Choice, budget: Budget) -> dict[str, Any]:
    return {
        "budget": budget.text,
        "confidence": CONFIDENCE,
        "checked_hours": choice.hours,
        "setting_hours": choice.setting_hours,
        "false_events": choice.point.false_events,
        "bound_per_day": choice.point.bound_per_day,
        "dispersion": choice.dispersion,
        "recall": choice.point.recall,
        "labels": choice.labels,
        "path": [asdict(point) for point in choice.path],
    }


def _numbers(found: Reliability) -> Iterator[tuple[str, Any]]:
    yield "ece", found.ece
    yield "nll", found.nll


def _yaml(content: dict[str, Any]) -> bytes:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def _told(err: Console, bundle: Bundle, what: str) -> None:
    err.print(f"{what} in {bundle.path} (now {bundle.identity})", markup=False, soft_wrap=True)
