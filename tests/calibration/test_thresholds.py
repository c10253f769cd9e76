from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from calibration.footage import Recording
from calibration.poisson import Budget, BudgetError, upper_bound
from calibration.thresholds import Choice, choose_thresholds, merged, split_quiet, with_enters
from calibration.trace import Trace, count_events, margin_s
from stream.thresholds import Thresholds
from tests.formula_bundle import SPEC

PRESENT = Thresholds.parse(
    {"defaults": {"enter": 0.6, "exit": 0.3, "min_duration_s": 0.2}, "labels": {"move": {"merge_gap_s": 0.4}}}
)
BURSTS_PER_HOUR = 60.0
BUDGET = Budget.parse("6/hour")


def silent(stage: str, left: int) -> None:
    pass


def recorded(rng: np.random.Generator, hours: float, label: str | None = None) -> Trace:
    """Quiet footage in which `move` looks likely now and then, `count` never: a burst's log-odds are about 1.

    With a label, a clip: all its log-odds are the same, 3.5 or so.
    """
    windows = round(hours * 3600 / SPEC.window_s)
    logits = np.zeros((windows, SPEC.steps, len(SPEC.labels)), np.float32)
    logits[..., -1] = 12
    if label is None:
        bursts = np.flatnonzero(rng.random(windows) < BURSTS_PER_HOUR * SPEC.window_s / 3600)
        logits[bursts, :, 0] = 12 + rng.normal(1, 1, (len(bursts), 1))
    else:
        logits[..., SPEC.labels.index(label)] = 12 + rng.normal(3.5, 1.2)
    pts_ns = (np.arange(windows * SPEC.ticks) * 1e9 / SPEC.rate_hz).astype(np.int64).reshape(windows, SPEC.ticks)
    return Trace(Recording("x.mp4", label, "door", 3), SPEC, logits, pts_ns, np.zeros(windows, np.int64))


@pytest.fixture(scope="module")
def quiet() -> list[Trace]:
    rng = np.random.default_rng(1)
    return [recorded(rng, 0.5) for _ in range(6)]


@pytest.fixture(scope="module")
def clips() -> list[Trace]:
    rng = np.random.default_rng(2)
    return [recorded(rng, 6 / 3600, label) for label in ("move", "count") for _ in range(10)]


@pytest.fixture(scope="module")
def choice(quiet, clips) -> Choice:
    return choose_thresholds(SPEC, PRESENT, quiet, clips, BUDGET, silent)


def test_thresholds_hold_on_footage_that_was_not_used(choice):
    """Within the bound printed; and the bundle's own would not have."""
    assert choice.point.bound_per_day / 24 == pytest.approx(
        upper_bound(choice.point.false_events, choice.hours, choice.dispersion)
    )
    assert choice.point.bound_per_day / 24 <= BUDGET.per_hour
    fresh = recorded(np.random.default_rng(99), 8.0)
    steps = [fresh.steps(1.0, 0.1, 1.0)]
    present = PRESENT.rules(SPEC.actions, {})
    rules = with_enters(present, {label: row["enter"] for label, row in choice.labels.items()})
    assert count_events(steps, SPEC, rules)[0].total() / fresh.hours <= choice.point.bound_per_day / 24
    assert count_events(steps, SPEC, present)[0].total() / fresh.hours > BUDGET.per_hour
    assert choice.point.recall is not None
    assert choice.point.recall > 0.6


def test_bursts_make_the_bound_wider(quiet, clips, choice):
    """The same footage, but what is mistaken once is mistaken four times in a row."""
    again = []
    for trace in quiet:
        logits = trace.logits.copy()
        for burst in np.flatnonzero(logits[:, 0, 0] > 0):
            logits[burst : burst + 16 : 4, :, 0] = logits[burst, :, 0]
        again.append(dataclasses.replace(trace, logits=logits))
    in_bursts = choose_thresholds(SPEC, PRESENT, again, clips, Budget.parse("1000/hour"), silent)
    assert choice.dispersion < 2
    assert 3 < in_bursts.dispersion < 6


def test_the_walk_stops_at_the_first_place_over_the_budget(choice):
    over = [point.bound_per_day / 24 > BUDGET.per_hour for point in choice.path]
    assert over == [False] * (len(over) - 1) + [True]
    assert [point.allowed for point in choice.path] == [not fails for fails in over]
    assert not over[choice.chosen]


def test_each_label_is_as_sensitive_as_its_own_false_events_allow(choice):
    assert choice.labels["count"]["enter"] < 0.6 < choice.labels["move"]["enter"]
    for row in choice.labels.values():
        assert row["exit"] == pytest.approx(row["enter"] / 2, rel=0.01)  # the bundle's share


def test_a_larger_budget_recognizes_no_less(quiet, clips, choice):
    larger = choose_thresholds(SPEC, PRESENT, quiet, clips, Budget.parse("60/hour"), silent)
    assert larger.point.recall > choice.point.recall
    assert larger.point.false_events > choice.point.false_events


def test_without_clips_no_enter_goes_below_the_bundles(quiet):
    choice = choose_thresholds(SPEC, PRESENT, quiet, [], Budget.parse("1000/hour"), silent)
    assert {label: row["enter"] for label, row in choice.labels.items()} == {"move": 0.6, "count": 0.6}
    assert choice.point.recall is None


def test_a_budget_that_the_footage_cannot_support_is_refused_with_the_hours(quiet):
    with pytest.raises(BudgetError, match=r"3 hours of quiet footage .* 0\.5/day: 144 hours .* 216 in all"):
        choose_thresholds(SPEC, PRESENT, quiet, [], Budget.parse("0.5/day"), silent)


def test_a_budget_that_no_threshold_keeps_is_refused():
    trace = recorded(np.random.default_rng(1), 0.5)
    trace.logits[::20, :, 0] = 40  # certain, and often
    with pytest.raises(BudgetError, match=r"cannot be kept: .* train with this footage as `none`"):
        choose_thresholds(SPEC, PRESENT, [trace], [], Budget.parse("12/hour"), silent)


def test_what_sets_does_not_check(quiet):
    setting, checking = split_quiet(quiet)
    assert not {id(t) for t in setting} & {id(t) for t in checking}
    assert sum(map(len, setting)) / sum(map(len, quiet)) == pytest.approx(1 / 3, abs=0.05)
    (first,), (rest,) = split_quiet(quiet[:1])
    assert len(first) + len(rest) == len(quiet[0])
    assert first.pts_ns[-1, -1] < rest.pts_ns[0, 0]


def test_leaving_silence_out_changes_no_event():
    """With smoothing and merging, which look at what was before."""
    trace = recorded(np.random.default_rng(5), 0.5)
    present = Thresholds.parse({"defaults": {"enter": 0.4, "exit": 0.2, "merge_gap_s": 1.0, "smoothing_s": 0.3}})
    rules = present.rules(SPEC.actions, {})
    short = trace.steps(1.0, 0.2, margin_s(rules.values()))
    assert sum(map(len, short)) < 0.5 * len(trace) * SPEC.steps
    assert count_events([short], SPEC, rules) == count_events([trace.steps(1.0)], SPEC, rules)
    assert count_events([short], SPEC, rules)[0].total() > 5


def test_a_gap_in_time_ends_events():
    trace = recorded(np.random.default_rng(0), 6 / 3600, "move")
    assert count_events([trace.steps(1.0)], SPEC, PRESENT.rules(SPEC.actions, {}))[0]["move"] == 1
    cut = dataclasses.replace(trace, epochs=np.arange(len(trace)) // (len(trace) // 2))
    assert count_events([cut.steps(1.0)], SPEC, PRESENT.rules(SPEC.actions, {}))[0]["move"] >= 2


def test_everything_else_in_the_bundles_thresholds_stays():
    old = {"temperature": 1.3, "labels": {"move": {"enter": 0.6, "min_duration_s": 1.0}}}
    new = merged(old, {"move": {"enter": 0.7, "exit": 0.4}, "count": {"enter": 0.5, "exit": 0.3}})
    assert new["temperature"] == 1.3
    assert new["labels"]["move"] == {"enter": 0.7, "exit": 0.4, "min_duration_s": 1.0}
    assert Thresholds.parse(new).rules(SPEC.actions, {})["count"].exit == 0.3
