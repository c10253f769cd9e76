"""Thresholds: enter and exit scores that keep false events on quiet footage within a budget.

Two things are to be true of the result: each label is as sensitive as its own false events allow, and the bound that is
printed holds although thresholds were chosen. So the quiet footage is split.

On a third of it each label's enter is set where that label alone makes no false event. That gives a path: all enters
moved together, by the same step in log-odds, from strict to loose. It also tells how much false events come in bursts.
On the rest, which set nothing, the path is walked from its strict end, and the walk stops at the first place where the
95 % bound on the rate of false events, with such bursts, is over the budget. An order fixed beforehand and a stop at
the first failure need no correction for having looked many times (fixed-sequence testing): what is chosen is within
the budget with 95 % confidence, for footage like that given.

Exit goes with enter, at the share that the bundle has. Duration, merging and smoothing stay as the bundle has them;
every count is made by the EventMachine itself.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.poisson import Budget, BudgetError, dispersion, upper_bound
from calibration.trace import Trace, count_events, margin_s
from engine.spec import ModelSpec
from stream.event_machine import Step
from stream.events import Rules
from stream.thresholds import Thresholds

SETTING_SHARE = 1 / 3
PIECE_S = 60.0  # in which events are counted to see whether they come in bursts: longer than most of these last
SHIFTS = tuple(np.arange(6.0, -6.01, -0.5).tolist())  # log-odds, strict to loose
GRID = tuple(1 / (1 + math.exp(-x)) for x in np.arange(-2.0, 7.01, 0.25))  # enters tried per label
HIGHEST = 0.999  # a float32 softmax can still exceed it

Steps = list[list[Step]]


@dataclass(frozen=True)
class Point:
    """A place on the path. false_events: on the checking footage. recall: share of labelled clips; None without."""

    enters: dict[str, float]
    false_events: int
    per_day: float
    bound_per_day: float
    recall: float | None
    allowed: bool


@dataclass(frozen=True)
class Choice:
    """labels: per label enter and exit. path: strict to loose. hours, by_label: of checking, false events in it.

    dispersion: of false events on the setting footage, with the lowest enters that were open to choice.
    """

    labels: dict[str, dict[str, float]]
    path: list[Point]
    chosen: int
    hours: float
    setting_hours: float
    by_label: dict[str, int]
    dispersion: float

    @property
    def point(self) -> Point:
        return self.path[self.chosen]


def split_quiet(traces: Sequence[Trace]) -> tuple[list[Trace], list[Trace]]:
    """(a third for setting, the rest for checking): whole recordings where there are at least three, else by time."""
    if len(traces) < 3:
        parts = [trace.split(round(len(trace) * SETTING_SHARE)) for trace in traces]
        return [a for a, _ in parts if len(a)], [b for _, b in parts if len(b)]
    setting: list[Trace] = []
    checking: list[Trace] = []
    for trace in sorted(traces, key=len, reverse=True):
        total = sum(map(len, (*setting, *checking, trace)))
        fits = sum(map(len, (*setting, trace))) <= SETTING_SHARE * total
        (setting if fits else checking).append(trace)
    if not setting:
        setting.append(checking.pop())
    return setting, checking


def check_budget(budget: Budget, quiet: Sequence[Trace]) -> None:
    """Raises BudgetError where even no false event at all would not show that the budget is kept."""
    _, checking = split_quiet(quiet)
    hours = sum(trace.hours for trace in checking)
    if hours < budget.hours_needed:
        total = sum(trace.hours for trace in quiet)
        raise BudgetError(
            f"{total:.3g} hours of quiet footage cannot support a budget of {budget.text}: "
            f"{budget.hours_needed:.3g} hours without a false event are needed for checking, and half as much again "
            f"for setting, so {budget.hours_needed / (1 - SETTING_SHARE):.3g} in all; with what there is, "
            f"the least budget is {24 * upper_bound(0, hours):,.1f}/day"
        )


def choose_thresholds(
    spec: ModelSpec,
    thresholds: Thresholds,
    quiet: Sequence[Trace],
    clips: Sequence[Trace],
    budget: Budget,
    progress: Callable[[str, int], None],
) -> Choice:
    """The place on the path with the best recall on the clips, or without clips the loosest, within the budget.

    clips: of recordings with a label. Without any, no enter goes below the bundle's, for then nothing shows what a low
    one is good for. Raises BudgetError where the budget cannot be kept.
    """
    check_budget(budget, quiet)
    setting, checking = split_quiet(quiet)
    present = thresholds.rules(spec.actions, {})
    lowest = {label: GRID[0] if clips else present[label].enter for label in spec.actions}
    floor = min(rule.exit_score for rule in with_enters(present, lowest).values())
    margin = margin_s(present.values())
    steps = {id(t): t.steps(thresholds.temperature, floor, margin) for t in (*setting, *checking, *clips)}
    base = {}
    for left, label in enumerate(spec.actions):
        progress("labels", len(spec.actions) - left)
        base[label] = _silent_enter(spec, present, label, lowest[label], [steps[id(t)] for t in setting])
    burst = _dispersion(spec, with_enters(present, lowest), setting, thresholds.temperature)
    hours = sum(trace.hours for trace in checking)
    path: list[Point] = []
    counts: list[Counter[str]] = []
    for left, shift in enumerate(SHIFTS):
        progress("path", len(SHIFTS) - left)
        enters = {label: _shifted(base[label], shift, lowest[label]) for label in spec.actions}
        rules = with_enters(present, enters)
        found = sum(count_events([steps[id(t)] for t in checking], spec, rules), Counter[str]())
        bound = upper_bound(found.total(), hours, burst)
        allowed = bound <= budget.per_hour
        recall = _recall(spec, rules, clips, steps)
        path.append(Point(enters, found.total(), 24 * found.total() / hours, 24 * bound, recall, allowed))
        counts.append(found)
        if not allowed or enters == lowest:
            break
    allowed_places = [i for i, point in enumerate(path) if point.allowed]
    if not allowed_places:
        raise BudgetError(
            f"the budget of {budget.text} cannot be kept: with every enter at its strictest there are still "
            f"{path[0].false_events} false events in {hours:.3g} hours, so the bound is "
            f"{path[0].bound_per_day:.3g}/day (they come in bursts of {burst:.1f}); train with this footage as `none`, "
            "or allow more"
        )
    # Of equal recall the strictest, and without labelled clips the loosest, which is the one that changes least.
    chosen = max(allowed_places, key=lambda i: (path[i].recall, -i)) if clips else allowed_places[-1]
    return Choice(
        {label: _scores(rule) for label, rule in with_enters(present, path[chosen].enters).items()},
        path,
        chosen,
        hours,
        sum(trace.hours for trace in setting),
        dict(counts[chosen]),
        burst,
    )


def merged(data: Mapping[str, Any], labels: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """A bundle's `thresholds.yaml` with these scores, everything else as it was."""
    old = data.get("labels") or {}
    return {**data, "labels": {**old, **{label: {**old.get(label, {}), **scores} for label, scores in labels.items()}}}


def with_enters(present: Mapping[str, Rules], enters: Mapping[str, float]) -> dict[str, Rules]:
    """The rules with other enters, each exit at its share of enter as before."""
    return {
        label: rule.model_copy(
            update={"enter": enters[label], "exit": round(enters[label] * rule.exit_score / rule.enter, 4)}
        )
        for label, rule in present.items()
    }


def _scores(rule: Rules) -> dict[str, float]:
    return {"enter": rule.enter, "exit": rule.exit_score}


def _silent_enter(
    spec: ModelSpec, present: Mapping[str, Rules], label: str, lowest: float, quiet: Iterable[Steps]
) -> float:
    """The lowest enter with which this label, all alone, makes no false event."""
    steps = list(quiet)
    others = {name: rule.model_copy(update={"enabled": False}) for name, rule in present.items()}
    enters = [lowest, *(enter for enter in GRID if enter > lowest), HIGHEST]

    def silent(enter: float) -> bool:
        rules = with_enters(present, {name: rule.enter for name, rule in present.items()} | {label: enter})
        return not sum(count_events(steps, spec, others | {label: rules[label]}), Counter[str]()).total()

    return enters[min(bisect.bisect_left(enters, True, key=silent), len(enters) - 1)]


def _dispersion(spec: ModelSpec, rules: Mapping[str, Rules], quiet: Sequence[Trace], temperature: float) -> float:
    pieces = [piece.steps(temperature) for trace in quiet for piece in trace.pieces(PIECE_S)]
    return dispersion([count.total() for count in count_events(pieces, spec, rules)])


def _shifted(enter: float, shift: float, lowest: float) -> float:
    moved = 1 / (1 + math.exp(-(math.log(enter / (1 - enter)) + shift)))
    return min(HIGHEST, max(round(moved, 4), lowest))


def _recall(
    spec: ModelSpec, rules: Mapping[str, Rules], clips: Sequence[Trace], steps: Mapping[int, Steps]
) -> float | None:
    """Share of the labelled clips in which an event of their label begins."""
    if not clips:
        return None
    counts = count_events((steps[id(clip)] for clip in clips), spec, rules)
    return float(np.mean([count[clip.recording.label or ""] > 0 for clip, count in zip(clips, counts, strict=True)]))
