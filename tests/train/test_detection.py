from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.spec import ModelSpec
from stream.demo.score import Score, Span
from train.detection import EventReport, frame_map, iou, labels_at, match
from train.films import Film
from train.online import OnlineEvent, Trace


def span(label: str, start_s: float, end_s: float) -> Span:
    return Span(label, round(start_s * 1e9), round(end_s * 1e9))


def test_iou() -> None:
    assert iou(span("a", 0, 4), span("a", 2, 6)) == pytest.approx(2 / 6)
    assert iou(span("a", 0, 4), span("a", 0, 4)) == 1
    assert iou(span("a", 0, 4), span("a", 4, 6)) == 0


def test_one_event_for_an_action_and_one_action_for_an_event() -> None:
    truth = [span("walk", 0, 4), span("none", 4, 6), span("walk", 6, 10), span("wave", 10, 14)]
    events = [span("walk", 0, 2), span("walk", 2, 4), span("walk", 6, 14), span("bend", 10, 14)]
    found = match(truth, events, 0.5)
    assert (found.actions, found.events, found.right) == (3, 4, 2)
    assert (found.recall, found.precision) == (pytest.approx(2 / 3), 0.5)
    assert match(truth, events, 0.51).right == 0
    assert np.isnan(match(truth, [], 0.5).precision)


def test_the_best_pairs_are_matched_first() -> None:
    """The long event fits both actions; it is the second's, so that the first keeps its own."""
    truth = [span("walk", 0, 4), span("walk", 4, 10)]
    assert match(truth, [span("walk", 0, 9.5), span("walk", 0, 3)], 0.3).right == 2


def test_labels_at_moments() -> None:
    truth = [span("walk", 1, 2), span("wave1", 2, 3)]
    times = np.array([0.5, 1.0, 1.9, 2.0, 3.0]) * 1e9
    assert labels_at(truth, times.astype(np.int64), ("walk", "wave1", "none")).tolist() == [2, 0, 0, 1, 2]


def made(spec: ModelSpec, labels: list[int]) -> Trace:
    """Two steps a window, a sure score for each of the labels."""
    ticks = np.round(np.arange(len(labels) * 2) / spec.rate_hz * 1e9).astype(np.int64)
    logits = np.eye(3, dtype=np.float32)[labels] * 9
    return Trace(spec, logits.reshape(-1, 2, 3), ticks.reshape(-1, 4), np.zeros(len(labels) // 2, np.int64))


def test_frame_map_is_the_mean_over_the_actions_that_take_place(spec: ModelSpec) -> None:
    truth = [span("walk", 0, 0.5), span("none", 0.5, 1)]
    assert frame_map([made(spec, [0, 0, 0, 2, 2, 2])], [truth]) == 1.0
    # Six steps: three of walk, of which one has a score, and so has one of none. At that score precision is 1/2 and
    # recall 1/3; the others share the lowest score, where precision is the share of walk, 3/6.
    assert frame_map([made(spec, [0, 2, 2, 0, 2, 2])], [truth]) == pytest.approx(1 / 3 * 1 / 2 + 2 / 3 * 1 / 2)
    assert np.isnan(frame_map([made(spec, [0, 2])], [[]]))


def test_a_report_adds_its_films_up() -> None:
    films = (
        Film("one", Path("1.mp4"), (span("walk", 0, 5), span("none", 5, 6))),
        Film("two", Path("2.mp4"), (span("wave1", 0, 5), span("none", 5, 6))),
    )
    told = (
        (OnlineEvent(span("walk", 1, 5), round(2e9)), OnlineEvent(span("wave1", 5.2, 5.8), round(6e9))),
        (OnlineEvent(span("wave1", 0, 2), round(1e9)),),
    )
    report = EventReport(films, told)
    assert report.seconds == 12
    assert report.score == Score(2, 2, 1)
    assert (report.match(0.3).right, report.match(0.5).right) == (2, 1)
    assert report.delays_s() == [2.0, 1.0]
