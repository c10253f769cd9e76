"""Measures of recognition in continuous footage: events held against actions, and scores against every moment.

Temporal detection as it is usually measured (ActivityNet, THUMOS): an event is right when it shares enough of its time
with an action of its label that no other event has; per-frame average precision (De Geest et al., "Online Action
Detection", 2016) needs no thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.softmax import softmax
from engine.spec import NONE_LABEL
from stream.demo.score import Score, Span, score
from train.films import Film
from train.online import I64, OnlineEvent, Trace, delays_s


class Matched(NamedTuple):
    """How many actions took place, how many events were told, and how many of these are an action's."""

    actions: int
    events: int
    right: int

    @property
    def precision(self) -> float:
        """Not a number without events."""
        return self.right / self.events if self.events else float("nan")

    @property
    def recall(self) -> float:
        return self.right / self.actions if self.actions else float("nan")


def iou(a: Span, b: Span) -> float:
    """Time that two ended spans share, over the time that either takes."""
    a_end, b_end = a.end_ns or a.start_ns, b.end_ns or b.start_ns
    shared = min(a_end, b_end) - max(a.start_ns, b.start_ns)
    return shared / (max(a_end, b_end) - min(a.start_ns, b.start_ns)) if shared > 0 else 0.0


def match(truth: Sequence[Span], events: Sequence[Span], threshold: float) -> Matched:
    """Give every event the action of its label that it covers best; each action counts once, best pairs first."""
    actions = [span for span in truth if span.label != NONE_LABEL]
    pairs = sorted(
        (
            (iou(action, event), a, e)
            for a, action in enumerate(actions)
            for e, event in enumerate(events)
            if action.label == event.label
        ),
        reverse=True,
    )
    taken: set[int] = set()
    given: set[int] = set()
    for overlap, a, e in pairs:
        if overlap >= threshold and a not in taken and e not in given:
            taken.add(a)
            given.add(e)
    return Matched(len(actions), len(events), len(taken))


def labels_at(truth: Sequence[Span], times_ns: I64, labels: Sequence[str]) -> I64:
    """int64 [n]: what happens at each time, as an index in labels; `none` where the truth says nothing."""
    index = {label: i for i, label in enumerate(labels)}
    found = np.full(len(times_ns), index[NONE_LABEL], np.int64)
    for span in truth:
        end_ns = span.end_ns if span.end_ns is not None else 2**62
        found[(times_ns >= span.start_ns) & (times_ns < end_ns)] = index[span.label]
    return found


def frame_map(traces: Sequence[Trace], truths: Sequence[Sequence[Span]], temperature: float = 1.0) -> float:
    """Per-frame mAP over all steps of all traces: mean over the actions that take place, `none` not counted."""
    from sklearn.metrics import average_precision_score  # takes a second to import

    labels = traces[0].spec.labels
    scores = np.concatenate([softmax(t.logits.reshape(-1, len(labels)) / np.float32(temperature)) for t in traces])
    target = np.concatenate(
        [labels_at(truth, traced.steps_ns, labels) for traced, truth in zip(traces, truths, strict=True)]
    )
    present = [i for i in range(len(labels) - 1) if (target == i).any()]
    each = [average_precision_score(target == i, scores[:, i]) for i in present]
    return float(np.mean(each)) if each else float("nan")


@dataclass(frozen=True)
class EventReport:
    """Films, and the events that were told of each."""

    films: tuple[Film, ...]
    events: tuple[tuple[OnlineEvent, ...], ...]

    @property
    def seconds(self) -> float:
        return sum(film.seconds for film in self.films)

    @property
    def score(self) -> Score:
        """An action is recognized when an event of its label shares a moment with it; other events are false."""
        scores = [score(film.truth, _spans(events), slack_ns=0) for film, events in self._pairs()]
        return Score(*map(sum, zip(*scores, strict=True)))

    def match(self, threshold: float) -> Matched:
        """At a temporal IoU of at least `threshold`."""
        found = [match(film.truth, _spans(events), threshold) for film, events in self._pairs()]
        return Matched(*map(sum, zip(*found, strict=True)))

    def delays_s(self) -> list[float]:
        """Of every action that was recognized."""
        return [delay for film, events in self._pairs() for delay in delays_s(film.truth, events)]

    def _pairs(self) -> list[tuple[Film, tuple[OnlineEvent, ...]]]:
        return list(zip(self.films, self.events, strict=True))


def _spans(events: Sequence[OnlineEvent]) -> list[Span]:
    return [event.span for event in events]
