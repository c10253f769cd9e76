"""`swinstream evaluate`. It returns an exit code: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine.bundle import Bundle
from stream.commands import FAILED, OK, USAGE, guarded, say
from stream.demo.record import RecordError
from stream.failure import SourceError
from train.config import TrainError
from train.evaluate import ClipReport
from train.evaluation import AGREEMENT_POINTS, IOUS, Evaluation, Number, percent
from train.live import LiveError
from train.measurement import Wanted, measure

FEW_LABELS = 20


def evaluate(name: str, wanted: Wanted, report: Path | None, as_json: bool) -> int:
    """`swinstream evaluate`. report: a folder to write, see train.report."""
    err = Console(stderr=True)
    with guarded(err) as code:
        bundle = Bundle.load(name)
        try:
            evaluation = measure(bundle, wanted, err)
            numbers = evaluation.numbers()
            if report is not None:
                from train.report import write_report

                err.print(f"report: {write_report(evaluation, numbers, report)}", highlight=False, soft_wrap=True)
        except TrainError as error:
            return say(err, error, USAGE)
        except (SourceError, RecordError, LiveError) as error:
            return say(err, error, FAILED)
        except OSError as error:
            return say(err, f"{error.filename or report}: {error.strerror}", FAILED)
        except ModuleNotFoundError as error:
            return say(err, f"this needs {error.name}: pip install 'swinstream[train]'", USAGE)
        if as_json:
            sys.stdout.write(json.dumps(numbers) + "\n")
        else:
            _show(evaluation, numbers)
        _warn(evaluation, err)
        code[0] = OK
    return code[0]


def _show(evaluation: Evaluation, numbers: Mapping[str, Number]) -> None:
    """For people: the confusion of clips, then a line for each kind of measure."""
    out = Console(highlight=False, soft_wrap=True)
    Console(highlight=False).print(_confusion(evaluation.clips))
    out.print(
        f"{numbers['clips']} clips: top-1 {percent(numbers['top1'])} (95 %: {percent(numbers['top1_low'])} to "
        f"{percent(numbers['top1_high'])}), top-5 {percent(numbers['top5'])}, mean per class "
        f"{percent(numbers['mean_class'])}"
    )
    if evaluation.views is not None:
        out.print(
            f"{numbers['views']} x {numbers['views_crops']} views: top-1 {percent(numbers['views_top1'])}, top-5 "
            f"{percent(numbers['views_top5'])}, mean per class {percent(numbers['views_mean_class'])}"
        )
    if evaluation.offline is not None:
        measures = [f"per-frame mAP {percent(numbers['frame_map'])}"]
        measures += [
            f"at IoU {iou:g} precision {percent(numbers[f'event_precision_iou{iou:g}'])}, recall "
            f"{percent(numbers[f'event_recall_iou{iou:g}'])}"
            for iou in IOUS
        ]
        out.print("; ".join(measures))
        out.print(f"as files: {evaluation.offline.events.score}; {_delay(numbers, 'delay')}")
    if evaluation.live is not None:
        out.print(f"live: {evaluation.live.report.score}; {_delay(numbers, 'live_delay')}")
    if evaluation.quiet is not None:
        rate = numbers["false_events_per_hour"]
        out.print(
            f"quiet footage: {numbers['quiet_events']} false events in {numbers['quiet_s']} s"
            + ("" if rate is None else f", {rate:.1f} an hour")
        )


def _confusion(clips: ClipReport) -> Table:
    """Columns bear the labels' numbers, so that a terminal is wide enough; of many labels only the worst are shown."""
    matrix, by_label = clips.confusion(), clips.by_label()
    if len(clips.labels) > FEW_LABELS:
        table = Table("label", "clips", "right", "taken for", title="labels with mistakes", title_justify="left")
        for label, (right, count) in sorted(by_label.items(), key=lambda item: item[1][0] / item[1][1])[:FEW_LABELS]:
            row = matrix[clips.labels.index(label)]
            others = [f"{clips.labels[i]} {row[i]}" for i in row.argsort()[::-1][:4] if row[i]]
            if right < count:
                table.add_row(label, str(count), f"{right / count:.0%}", ", ".join(others))
        return table
    table = Table(title="clips by true label (row) and recognized label (column)", title_justify="left")
    for name in ("", "true", *map(str, range(1, len(clips.labels) + 1)), "right"):
        table.add_column(name, justify="left" if name == "true" else "right")
    for number, (label, row) in enumerate(zip(clips.labels, matrix, strict=True), 1):
        right, count = by_label.get(label, (0, 0))
        share = f"{right / count:.0%}" if count else ""
        table.add_row(str(number), label, *(str(n) if n else "" for n in row), share)
    return table


def _delay(numbers: Mapping[str, Number], name: str) -> str:
    median, p95 = numbers[f"{name}_median_s"], numbers[f"{name}_p95_s"]
    if median is None:
        return "no delay to measure"
    return f"known after {median:.2f} s (median), {p95:.2f} s (95th percentile)"


def _warn(evaluation: Evaluation, err: Console) -> None:
    """What is amiss with the measurement itself."""
    live, points = evaluation.live, evaluation.disagreement_points
    if live is None or points is None:
        return
    lines = [f"film '{name}' was not seen to its end: its live numbers are too low" for name in live.broken]
    if played := [name for name in live.again if name not in live.broken]:
        lines.append(f"broke off and played again: {', '.join(played)}; only the second time counts")
    if live.skipped:
        lines.append(f"{live.skipped} windows were skipped: this machine is too busy for {len(live.films)} films live")
    if abs(points) > AGREEMENT_POINTS:
        lines.append(f"live and file differ by {points:+.1f} points of the actions, more than {AGREEMENT_POINTS:g}")
    for line in lines:
        err.print(f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
