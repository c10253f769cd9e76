"""Report: an evaluation as a folder, report.md and report.json with plots beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from train.evaluate import wilson
from train.evaluation import IOUS, Evaluation, Number, percent
from train.films import Film
from train.online import OnlineEvent
from train.plots import plot_confusion
from train.report_plots import plot_delays, plot_precision_recall, plot_timeline

TIMELINES = 4
"""Films whose scores are drawn."""


def write_report(evaluation: Evaluation, numbers: Mapping[str, Number], folder: Path) -> Path:
    """Write the folder; numbers: of `Evaluation.numbers`. Returns report.md. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    plot_confusion(evaluation.clips.confusion(), evaluation.clips.labels, folder / "confusion.png")
    reports = {}
    if evaluation.offline is not None:
        reports["file"] = evaluation.offline.events
    if evaluation.live is not None:
        reports["live"] = evaluation.live.report
    if reports:
        plot_precision_recall(reports, folder / "precision_recall.png")
        plot_delays(reports, folder / "delays.png")
    timelines = _timelines(evaluation, folder)
    details = json.dumps({**numbers, **_details(evaluation)}, indent=1, ensure_ascii=False)
    (folder / "report.json").write_text(details + "\n", encoding="utf-8")
    path = folder / "report.md"
    path.write_text("\n".join(_markdown(evaluation, numbers, timelines)) + "\n", encoding="utf-8")
    return path


def _timelines(evaluation: Evaluation, folder: Path) -> list[str]:
    """Names of the files drawn."""
    if evaluation.offline is None:
        return []
    offline, live, names = evaluation.offline, evaluation.live, []
    heard = {} if live is None else dict(zip((f.path for f in live.films), live.events, strict=True))
    each = zip(offline.events.films, offline.traces, offline.events.events, strict=True)
    for number, (film, traced, events) in enumerate(each):
        if number == TIMELINES:
            break
        told = {"file": events} | ({"live": heard[film.path]} if film.path in heard else {})
        names.append(f"timeline_{number + 1}.png")
        plot_timeline(film, traced, told, offline.temperature, folder / names[-1])
    return names


def _details(evaluation: Evaluation) -> dict[str, Any]:
    clips = evaluation.clips
    found: dict[str, Any] = {
        "data": str(evaluation.data),
        "groups": list(evaluation.groups),
        "labels": list(clips.labels),
        "confusion": clips.confusion().tolist(),
        "by_label": {label: {"right": right, "clips": n} for label, (right, n) in clips.by_label().items()},
        "wrong": [
            {"path": str(r.ref.path), "label": r.ref.label, "recognized": clips.labels[int(r.scores.argmax())]}
            for r in clips.results
            if clips.labels[int(r.scores.argmax())] != r.ref.label
        ],
        "unreadable_clips": [{"path": str(ref.path), "why": why} for ref, why in clips.unreadable],
    }
    if evaluation.offline is not None:
        report = evaluation.offline.events
        found["films_file"] = [_film(f, e) for f, e in zip(report.films, report.events, strict=True)]
    if evaluation.live is not None:
        live = evaluation.live
        found["films_live"] = [_film(f, e) for f, e in zip(live.films, live.events, strict=True)]
        found["films_broken"] = live.broken
    if evaluation.quiet is not None:
        found["quiet"] = [
            {"path": str(path), "seconds": round(seconds, 2), "events": [_event(event) for event in events]}
            for path, (seconds, events) in evaluation.quiet.files.items()
        ]
    return found


def _film(film: Film, events: Iterable[OnlineEvent]) -> dict[str, Any]:
    truth = [[s.label, s.start_ns / 1e9, (s.end_ns or 0) / 1e9] for s in film.truth]
    return {"name": film.name, "truth": truth, "events": [_event(event) for event in events]}


def _event(event: OnlineEvent) -> dict[str, Any]:
    span = event.span
    seconds = {"start_s": span.start_ns, "end_s": span.end_ns or span.start_ns, "told_s": event.told_ns}
    return {"label": span.label} | {name: round(ns / 1e9, 3) for name, ns in seconds.items()}


def _markdown(evaluation: Evaluation, numbers: Mapping[str, Number], timelines: list[str]) -> list[str]:
    groups = f", groups {', '.join(evaluation.groups)}" if evaluation.groups else ""
    lines = [
        f"# {evaluation.model} ({evaluation.version}) on {evaluation.data}{groups}",
        "",
        f"Engine: {evaluation.engine}.",
        "",
        "## Clips",
        "",
        "| clips | top-1 | 95 % interval | top-5 | mean per class |",
        "|---|---|---|---|---|",
        f"| {numbers['clips']} | {percent(numbers['top1'])} | {percent(numbers['top1_low'])} to "
        f"{percent(numbers['top1_high'])} | {percent(numbers['top5'])} | {percent(numbers['mean_class'])} |",
    ]
    if evaluation.views is not None:
        lines += [
            "",
            f"Published protocol, {numbers['views']} clips in time by {numbers['views_crops']} crops, each from a zero "
            f"state: top-1 {percent(numbers['views_top1'])}, top-5 {percent(numbers['views_top5'])}, mean per class "
            f"{percent(numbers['views_mean_class'])}.",
        ]
    lines += ["", "| label | right | clips | 95 % interval |", "|---|---|---|---|"]
    for label, (right, count) in evaluation.clips.by_label().items():
        low, high = wilson(right, count)
        lines.append(f"| {label} | {right} | {count} | {percent(low)} to {percent(high)} |")
    lines += ["", "![confusion matrix](confusion.png)", ""]
    if evaluation.clips.unreadable:
        lines += ["Not counted, because they could not be read:", ""]
        lines += [f"- {ref.path}: {why}" for ref, why in evaluation.clips.unreadable] + [""]
    if evaluation.offline is not None:
        lines += _events_section(evaluation, numbers, timelines)
    if evaluation.quiet is not None:
        lines += ["## Footage without actions", "", "| file | seconds | events |", "|---|---|---|"]
        for path, (seconds, events) in evaluation.quiet.files.items():
            told = ", ".join(f"{e.span.label} at {e.span.start_ns / 1e9:.1f} s" for e in events) or "none"
            lines.append(f"| {path.name} | {seconds:.0f} | {told} |")
        rate = numbers["false_events_per_hour"]
        told = "" if rate is None else f": {rate:.1f} an hour"
        lines += ["", f"{numbers['quiet_events']} false events in {numbers['quiet_s']:.0f} s{told}.", ""]
    return lines


def _events_section(evaluation: Evaluation, numbers: Mapping[str, Number], timelines: list[str]) -> list[str]:
    assert evaluation.offline is not None
    columns = {"file": ("offline_events_right", "offline_events_expected", "offline_false_events", "delay")}
    if evaluation.live is not None:
        columns["live"] = ("events_right", "events_expected", "false_events", "live_delay")
    seconds = evaluation.offline.events.seconds
    lines = [
        "## Events in continuous footage",
        "",
        f"The clips joined to {len(evaluation.offline.events.films)} films of {seconds:.0f} s in all, a second of "
        "stillness between them. `file`: read as files; `live`: H.264 over RTSP to `swinstream run`, its events heard "
        "over ZeroMQ.",
        "",
        f"Per-frame mAP {percent(numbers['frame_map'])}. "
        + ". ".join(
            f"At temporal IoU {iou:g} precision {percent(numbers[f'event_precision_iou{iou:g}'])}, recall "
            f"{percent(numbers[f'event_recall_iou{iou:g}'])}"
            for iou in IOUS
        )
        + ".",
        "",
        "| | actions recognized | false events | delay, median | delay, 95th percentile |",
        "|---|---|---|---|---|",
    ]
    for name, (right, expected, false_events, delay) in columns.items():
        median, p95 = (numbers[f"{delay}_{which}_s"] for which in ("median", "p95"))
        told = ["-" if value is None else f"{value:.2f} s" for value in (median, p95)]
        lines.append(
            f"| {name} | {numbers[right]} of {numbers[expected]} | {numbers[false_events]} | {told[0]} | {told[1]} |"
        )
    if evaluation.live is not None:
        lines += ["", f"Live minus file: {evaluation.disagreement_points:+.1f} points of the actions. "]
        lines[-1] += f"Windows skipped: {numbers['skipped_windows']}; films broken off: {numbers['broken_films']}."
    lines += ["", "![precision and recall](precision_recall.png)", "", "![delays](delays.png)", ""]
    return lines + [f"![scores over time]({name})\n" for name in timelines]
