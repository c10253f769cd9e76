"""A few of the thousand kills of benchmarks/kills.py, and that its judgement can find something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kills import Line, Report, check_order, compare
from stream.events import EndReason, Phase
from stream.wire import EventMessage, Position
from tests.stream.test_journal import draft

ROOT = Path(__file__).parents[2]


def test_no_event_is_missing_doubled_or_out_of_order() -> None:
    kills = int(os.environ.get("SWINSTREAM_KILLS", "8"))
    command = [sys.executable, "-m", "benchmarks.kills", "--kills", str(kills), "--seed", "11"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert sum(report["kills"].values()) == kills
    assert report["events"] > 100
    assert report["crashed_ends"] > 0
    assert not any(report["wrong"].values())


# ---- the judgement


def line(n: int) -> Line:
    return Line(f"RUN:{n}", "gate", "update", "id")


@pytest.mark.parametrize(
    ("got", "wrong"),
    [
        ([1, 2, 3], {}),
        ([1, 3], {"missing": 1}),
        ([1, 2, 2, 3], {"doubled": 1}),
        ([1, 3, 2], {"out_of_order": 1}),
        ([1, 2, 3, 4], {"not_in_journal": 1}),
        ([], {"missing": 3}),
    ],
)
def test_compare(got: list[int], wrong: dict[str, int]) -> None:
    report = Report({}, 0.0)
    compare(report, [line(n) for n in (1, 2, 3)], [line(n) for n in got])
    assert {what: count for what, count in report.wrong.items() if count} == wrong


def event(seq: int, phase: Phase, number: int = 1, prev: int | None = None, run: str = "R") -> EventMessage:
    body = draft(phase, number)
    before = None if prev is None else Position(run=run, seq=prev)
    return EventMessage.place(body.model_copy(update={"reason": EndReason.SCORE}), run, seq, before)


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        ([event(1, Phase.START), event(2, Phase.UPDATE, prev=1), event(3, Phase.END, prev=2)], set()),
        ([event(1, Phase.START), event(3, Phase.END, prev=1)], {"seq_gaps"}),
        ([event(1, Phase.START), event(2, Phase.END)], {"wrong_prev"}),
        ([event(1, Phase.START)], {"starts_without_end"}),
        ([event(1, Phase.END)], {"ends_without_start"}),
        ([event(1, Phase.START), event(2, Phase.END, prev=1), event(3, Phase.END, prev=2)], {"doubled_ends"}),
    ],
)
def test_check_order(events: list[EventMessage], wrong: set[str]) -> None:
    report = Report({}, 0.0)
    check_order(report, events)
    assert {what for what, count in report.wrong.items() if count} == wrong
