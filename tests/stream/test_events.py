"""EventMachine: runs, events and their ends, by example and by property."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.event_machine import EventMachine, Step, steps_of
from stream.events import Change, EndReason, Phase, Rules

STEP_S = 0.25
STEP_NS = 250_000_000


def counter() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"id{next(numbers)}"


def machine(labels: Sequence[str] = ("walk", "run"), **rules: Rules) -> EventMachine:
    return EventMachine(labels, rules, new_id=counter())


def steps(*rows: Sequence[float], first: int = 0) -> list[Step]:
    """Steps of a quarter second, from step number `first`."""
    return [
        Step((first + i) * STEP_NS, (first + i + 1) * STEP_NS, np.array(row, np.float32)) for i, row in enumerate(rows)
    ]


def track(text: str, label: int = 0, labels: int = 2) -> list[list[float]]:
    """Scores of one label as digits: `9` is 0.9, `.` is 0; the other labels stay at 0."""
    rows = np.zeros((len(text), labels), np.float32)
    rows[:, label] = [0 if c == "." else int(c) / 10 for c in text]
    return rows.tolist()


def spans(changes: Sequence[Change]) -> list[tuple[str, float, float, str | None]]:
    """(label, start, end, reason) of the ended events, times in steps."""
    return [
        (c.label, c.start_ns / STEP_NS, (c.end_ns or 0) / STEP_NS, c.reason and str(c.reason))
        for c in changes
        if c.phase is Phase.END
    ]


NOW = Rules(enter=0.6, exit=0.4, min_duration_s=0, merge_gap_s=0)


def events_of(text: str, rules: Rules = NOW) -> list[tuple[str, float, float, str | None]]:
    m = machine(walk=rules)
    return spans(m.advance(steps(*track(text))) + m.finish(EndReason.EOF))


class TestRuns:
    def test_begins_at_enter_and_lasts_while_at_least_exit(self) -> None:
        assert events_of("595654539.") == [("walk", 1, 7, "score"), ("walk", 8, 9, "score")]

    def test_exactly_at_the_thresholds_counts(self) -> None:
        rules = Rules(enter=0.5, exit=0.25, min_duration_s=0, merge_gap_s=0)
        m = machine(walk=rules)
        rows = [[0.5, 0], [0.25, 0], [0.2499, 0]]
        assert spans(m.advance(steps(*rows))) == [("walk", 0, 2, "score")]

    def test_exit_follows_enter_where_it_is_not_given(self) -> None:
        assert Rules(enter=0.9).exit_score == pytest.approx(0.6)

    def test_start_is_told_once_min_duration_is_reached_and_lies_at_the_runs_beginning(self) -> None:
        m = machine(walk=Rules(min_duration_s=0.75, merge_gap_s=0))
        assert m.advance(steps(*track(".99"))) == []
        (start,) = m.advance(steps(*track("9"), first=3))
        assert (start.phase, start.start_ns, start.at_ns) == (Phase.START, STEP_NS, 4 * STEP_NS)
        assert start.end_ns is None
        assert start.reason is None

    def test_a_shorter_run_is_no_event(self) -> None:
        assert events_of("99..99..999.", Rules(min_duration_s=0.75, merge_gap_s=0)) == [("walk", 8, 11, "score")]

    def test_peak_is_the_highest_score_also_from_before_the_start_was_told(self) -> None:
        m = machine(walk=Rules(min_duration_s=0.5, merge_gap_s=0))
        changes = m.advance(steps(*track("978.")))
        assert [round(c.peak, 3) for c in changes] == [0.9, 0.9]


class TestMergeGap:
    RULES = Rules(enter=0.6, exit=0.4, min_duration_s=0, merge_gap_s=0.5)

    def test_runs_closer_than_the_gap_are_one_event(self) -> None:
        assert events_of("99.99..", self.RULES) == [("walk", 0, 5, "score")]

    def test_runs_the_gap_apart_are_two(self) -> None:
        assert events_of("99..99..", self.RULES) == [("walk", 0, 2, "score"), ("walk", 4, 6, "score")]

    def test_the_end_waits_for_the_gap_and_is_the_runs_own(self) -> None:
        m = machine(walk=self.RULES)
        m.advance(steps(*track("99.")))
        assert m.open_events[0].held
        (end,) = m.advance(steps(*track("."), first=3))
        assert (end.end_ns, end.at_ns) == (2 * STEP_NS, 4 * STEP_NS)

    def test_a_score_between_exit_and_enter_does_not_resume(self) -> None:
        assert events_of("99.5..", self.RULES) == [("walk", 0, 2, "score")]

    def test_a_hole_in_time_longer_than_the_gap_ends_a_held_event(self) -> None:
        m = machine(walk=self.RULES)
        changes = m.advance(steps(*track("99."))) + m.advance(steps(*track("9"), first=10))
        assert spans(changes) == [("walk", 0, 2, "score")]
        assert m.open_events[0].start_ns == 10 * STEP_NS

    def test_finish_ends_a_held_event_with_its_run(self) -> None:
        assert events_of("999.", self.RULES) == [("walk", 0, 3, "eof")]


def test_cooldown_keeps_the_next_event_away() -> None:
    rules = Rules(min_duration_s=0, merge_gap_s=0, cooldown_s=1.0)
    assert events_of("9.9.9.9.9.", rules) == [("walk", 0, 1, "score"), ("walk", 6, 7, "score")]


def test_cooldown_goes_on_after_finish_although_time_begins_anew() -> None:
    m = machine(walk=Rules(min_duration_s=0, merge_gap_s=0, cooldown_s=1.0))
    m.advance(steps(*track("99")))
    m.finish(EndReason.GAP)
    changes = m.advance(steps(*track("999999"), first=1000)) + m.finish(EndReason.EOF)
    assert spans(changes) == [("walk", 1004, 1006, "eof")]


def test_max_duration_ends_an_event_and_lets_another_begin() -> None:
    rules = Rules(min_duration_s=0, merge_gap_s=0, max_duration_s=1.0)
    assert events_of("999999.", rules) == [("walk", 0, 4, "max_duration"), ("walk", 4, 6, "score")]


class TestUpdates:
    def test_at_most_one_a_second_of_stream_time(self) -> None:
        m = machine(walk=NOW)
        told = [c.at_ns // STEP_NS for c in m.advance(steps(*track("9" * 14))) if c.phase is Phase.UPDATE]
        assert told == [5, 9, 13]

    def test_none_while_the_end_is_held_back(self) -> None:
        m = machine(walk=Rules(min_duration_s=0, merge_gap_s=2))
        changes = m.advance(steps(*track("9......")))
        assert [c.phase for c in changes] == [Phase.START]


class TestExclusive:
    def test_opening_one_label_closes_the_other(self) -> None:
        m = machine(walk=NOW, run=NOW)
        rows = [[0.9, 0.0], [0.9, 0.0], [0.5, 0.9]]  # walk is still above its exit
        changes = m.advance(steps(*rows))
        assert [(c.phase, c.label) for c in changes] == [
            (Phase.START, "walk"),
            (Phase.END, "walk"),
            (Phase.START, "run"),
        ]
        assert spans(changes) == [("walk", 0, 2, "score")]

    def test_a_lower_score_does_not_take_over(self) -> None:
        m = machine(walk=NOW, run=NOW)
        m.advance(steps([0.9, 0.0], [0.8, 0.7], [0.8, 0.75]))
        assert [e.label for e in m.open_events] == ["walk"]

    def test_the_other_ends_where_the_new_one_begins_although_that_is_told_later(self) -> None:
        late = Rules(enter=0.6, exit=0.4, min_duration_s=0.75, merge_gap_s=0)
        m = machine(walk=NOW, run=late)
        rows = [[0.9, 0.0], [0.5, 0.9], [0.5, 0.9], [0.5, 0.9]]
        assert spans(m.advance(steps(*rows))) == [("walk", 0, 1, "score")]

    def test_one_that_ended_while_the_new_one_was_not_told_yet_is_not_overlapped(self) -> None:
        held = Rules(enter=0.6, exit=0.5, min_duration_s=0, merge_gap_s=0)
        late = Rules(enter=0.6, exit=0.4, min_duration_s=0.75, merge_gap_s=0)
        m = machine(walk=held, run=late)
        changes = m.advance(steps([0.9, 0.0], [0.6, 0.9], [0.0, 0.9], [0.0, 0.9]))
        assert spans(changes) == [("walk", 0, 2, "score")]
        assert [c.start_ns // STEP_NS for c in changes if c.phase is Phase.START] == [0, 2]

    def test_labels_that_are_not_exclusive_overlap(self) -> None:
        both = Rules(enter=0.4, min_duration_s=0, merge_gap_s=0, exclusive=False)
        m = machine(walk=both, run=both)
        m.advance(steps([0.5, 0.5]))
        assert len(m.open_events) == 2

    def test_groups_by_name(self) -> None:
        legs = Rules(enter=0.3, min_duration_s=0, merge_gap_s=0, exclusive="legs")
        arms = legs.model_copy(update={"exclusive": "arms"})
        m = machine(("walk", "run", "wave"), walk=legs, run=legs, wave=arms)
        m.advance(steps([0.31, 0.0, 0.3], [0.3, 0.4, 0.3]))
        assert [e.label for e in m.open_events] == ["wave", "run"]


class TestSmoothing:
    def test_is_an_average_over_time_and_not_over_steps(self) -> None:
        rules = Rules(enter=0.99, smoothing_s=1.0)
        fine, coarse = machine(walk=rules), machine(walk=rules)
        quarter = [Step(i * STEP_NS, (i + 1) * STEP_NS, np.array([i > 0, 0], np.float32)) for i in range(9)]
        fine.advance(quarter)
        coarse.advance(
            [
                Step(0, STEP_NS, np.array([0, 0], np.float32)),
                Step(STEP_NS, 9 * STEP_NS, np.array([1, 0], np.float32)),
            ]
        )
        assert fine.top is not None
        assert coarse.top is not None
        assert fine.top[1] == pytest.approx(coarse.top[1], abs=1e-5)
        assert fine.top[1] == pytest.approx(1 - np.exp(-2), abs=1e-5)

    def test_bridges_a_single_low_step(self) -> None:
        smooth = NOW.model_copy(update={"smoothing_s": 1.0})
        assert len(events_of("9999.9999", NOW)) == 2
        assert len(events_of("9999.9999", smooth)) == 1


class TestFinish:
    def test_ends_everything_with_the_reason_and_begins_anew(self) -> None:
        m = machine(walk=NOW)
        m.advance(steps(*track("999"), first=100))
        assert spans(m.finish(EndReason.CAMERA_LOST)) == [("walk", 100, 103, "camera_lost")]
        assert m.open_events == ()
        assert m.finish(EndReason.SHUTDOWN) == []
        assert [c.start_ns for c in m.advance(steps(*track("9")))] == [0]  # an earlier time is fine now

    def test_not_after_the_last_time_known_and_not_before_the_start(self) -> None:
        m = machine(walk=NOW)
        m.advance(steps(*track("999")))
        (end,) = m.finish(EndReason.EOF, pts_ns=2 * STEP_NS + 7)
        assert end.end_ns == 2 * STEP_NS + 7
        m.advance(steps(*track("9"), first=4))
        (end,) = m.finish(EndReason.EOF, pts_ns=0)
        assert end.end_ns == end.start_ns == 4 * STEP_NS

    def test_forgets_a_run_that_was_not_an_event_yet(self) -> None:
        m = machine(walk=Rules(min_duration_s=0.5, merge_gap_s=0))
        m.advance(steps(*track("9")))
        m.finish(EndReason.GAP)
        assert m.advance(steps(*track("9"), first=1)) == []


class TestReconfigure:
    def test_open_events_and_averages_stay(self) -> None:
        m = machine(walk=NOW)
        m.advance(steps(*track("99")))
        before = m.open_events
        assert m.reconfigure({"walk": NOW.model_copy(update={"exit": 0.1})}) == []
        assert m.open_events == before
        assert m.advance(steps(*track("2"), first=2)) == []  # the new exit holds
        assert not m.open_events[0].held

    def test_a_label_that_is_switched_off_ends(self) -> None:
        m = machine(walk=NOW)
        m.advance(steps(*track("99")))
        changes = m.reconfigure({"walk": Rules(enabled=False)})
        assert spans(changes) == [("walk", 0, 2, "reconfigured")]
        assert m.advance(steps(*track("9999"), first=2)) == []


def test_steps_that_overlap_a_little_do_not_turn_time_back() -> None:
    m = machine(walk=NOW)
    row = np.array([0.9, 0], np.float32)
    changes = m.advance([Step(0, 100, row), Step(90, 200, row), Step(150, 180, row * 0)])
    assert [(c.phase, c.start_ns, c.end_ns) for c in changes] == [(Phase.START, 0, None), (Phase.END, 0, 200)]


def test_scores_that_are_not_finite_are_refused_and_change_nothing() -> None:
    m = machine(walk=NOW)
    m.advance(steps(*track("9")))
    with pytest.raises(ValueError, match="finish"):
        m.advance(steps([float("nan"), 0.0], first=1))
    assert spans(m.finish(EndReason.GAP)) == [("walk", 0, 1, "gap")]


class TestRules:
    def test_exit_above_enter(self) -> None:
        with pytest.raises(ValidationError, match=r"exit \(0.7\) must not be above enter \(0.6\)"):
            Rules(exit=0.7)

    def test_max_not_above_min_duration(self) -> None:
        with pytest.raises(ValidationError, match="max_duration_s"):
            Rules(min_duration_s=5, max_duration_s=5)


class TestStepsOf:
    def test_times_and_scores(self) -> None:
        pts = np.array([0, 80, 170, 250, 330, 420], np.int64) * 1_000_000
        logits = np.log(np.array([[2, 1, 1], [1, 1, 2], [1, 2, 1]], np.float32))
        made = steps_of(logits, pts, rate_hz=12.5)
        assert [(s.start_ns, s.end_ns) for s in made] == [
            (0, 170_000_000),
            (170_000_000, 330_000_000),
            (330_000_000, 500_000_000),
        ]
        np.testing.assert_allclose(made[0].scores, [0.5, 0.25], rtol=1e-6)

    def test_temperature_flattens_and_large_logits_do_not_overflow(self) -> None:
        pts = np.array([0, 1], np.int64)
        logits = np.array([[1000.0, 0.0, 0.0]], np.float32)
        assert steps_of(logits, pts, 12)[0].scores[0] == pytest.approx(1)
        assert steps_of(logits, pts, 12, temperature=1e6)[0].scores[0] == pytest.approx(1 / 3, abs=1e-3)


# ---- properties

EXAMPLES = int(os.environ.get("SWINSTREAM_EXAMPLES", "300"))
LABELS = ("walk", "run", "wave")

rules_strategy = st.builds(
    lambda enter, exit_, minimum, gap, cooldown, longest, exclusive, smoothing: Rules(
        enter=enter,
        exit=exit_ * enter,
        min_duration_s=minimum,
        merge_gap_s=gap,
        cooldown_s=cooldown,
        max_duration_s=minimum + longest,
        exclusive=exclusive,
        smoothing_s=smoothing,
    ),
    st.sampled_from([0.3, 0.5, 0.8]),
    st.sampled_from([0.3, 0.7, 1.0]),
    st.sampled_from([0, 0.3, 1.0]),
    st.sampled_from([0, 0.25, 0.6]),
    st.sampled_from([0, 0.5, 2.0]),
    st.sampled_from([0.25, 1.0, 100.0]),
    st.sampled_from([True, True, False, "legs"]),
    st.sampled_from([0, 0, 0.5]),
)

scores_strategy = st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.9]), min_size=len(LABELS), max_size=len(LABELS))

# One step, with the hole before it in nanoseconds; or the end of an epoch.
item_strategy = st.one_of(
    st.tuples(st.sampled_from([0, 0, 0, 0, STEP_NS, 9 * STEP_NS]), scores_strategy),
    st.tuples(st.sampled_from([0, 0, 0, 0, STEP_NS, 9 * STEP_NS]), scores_strategy),
    st.tuples(st.sampled_from([0, 0, 0, 0, STEP_NS, 9 * STEP_NS]), scores_strategy),
    st.sampled_from([EndReason.GAP]),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(item_strategy, max_size=60),
    st.fixed_dictionaries(dict.fromkeys(LABELS, rules_strategy)),
    st.lists(st.integers(1, 7), min_size=1, max_size=10),
)
def test_properties(items: list[object], rules: Mapping[str, Rules], batches: list[int]) -> None:
    one, many = (EventMachine(LABELS, rules, new_id=counter()) for _ in range(2))
    changes: list[Change] = []
    other: list[Change] = []
    waiting: list[Step] = []
    sizes = itertools.cycle(batches)
    now_ns = 0
    for item in [*items, EndReason.EOF]:
        if isinstance(item, EndReason):
            other += many.advance(waiting) + many.finish(item)
            waiting = []
            changes += one.finish(item)
            continue
        hole_ns, row = item  # type: ignore[misc]
        step = Step(now_ns + hole_ns, now_ns + hole_ns + STEP_NS, np.array(row, np.float32))
        now_ns = step.end_ns
        changes += one.advance([step])
        waiting.append(step)
        if len(waiting) >= next(sizes):
            other += many.advance(waiting)
            waiting = []
    assert other == changes, "how steps are grouped into calls must not matter"

    by_id: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        by_id[change.id].append(change)
    whole: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for told in by_id.values():
        assert [c.phase for c in told] == [Phase.START, *[Phase.UPDATE] * (len(told) - 2), Phase.END]
        assert len({(c.label, c.start_ns) for c in told}) == 1
        assert all(b.at_ns >= a.at_ns for a, b in itertools.pairwise(told))
        assert all(b.at_ns - a.at_ns >= 10**9 for a, b in itertools.pairwise(told[:-1]))
        start, end = told[0], told[-1]
        rule = rules[start.label]
        assert end.end_ns is not None
        assert start.start_ns <= end.end_ns <= end.at_ns
        follows = any(c.phase is Phase.END and c.end_ns == start.start_ns for c in changes)
        assert start.at_ns - start.start_ns >= rule.min_duration_s * 1e9 or follows
        assert start.peak >= rule.enter
        assert end.peak >= start.peak
        assert end.reason is not None
        group = {True: "all", False: start.label}.get(rule.exclusive, rule.exclusive)  # type: ignore[call-overload]
        whole[group].append((start.start_ns, end.end_ns))
        whole[f"label {start.label}"].append((start.start_ns, end.end_ns))
    for intervals in whole.values():
        intervals.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(intervals)), "events of a group must not overlap"
    # Cooldown, within an epoch and across.
    for label in LABELS:
        ends = [c for c in changes if c.label == label and c.phase is Phase.END]
        starts = [c for c in changes if c.label == label and c.phase is Phase.START]
        for end, start in zip(ends, starts[1:], strict=False):
            assert start.start_ns - (end.end_ns or 0) >= rules[label].cooldown_s * 1e9


class TestQuiet:
    """What idle gating asks before a zone may rest."""

    RULES = Rules(enter=0.6, exit=0.4, min_duration_s=0.5, merge_gap_s=0.5)

    def test_not_from_the_first_step_of_a_run_to_the_end_of_its_event(self) -> None:
        m = machine(walk=self.RULES)
        quiet = []
        for step in steps(*track("..9999....")):
            m.advance([step])
            quiet.append(m.quiet)
        assert quiet == [True, True, *[False] * 5, True, True, True]

    def test_again_after_a_run_that_became_no_event(self) -> None:
        m = machine(walk=self.RULES)
        m.advance(steps(*track("9")))
        assert not m.quiet
        m.advance(steps(*track("."), first=1))
        assert m.quiet

    def test_a_long_rest_shortens_no_cooldown_and_lengthens_none(self) -> None:
        """Steps that were never taken, as their windows were idle, are time all the same."""
        rules = self.RULES.model_copy(update={"cooldown_s": 5.0})
        for rest, expected in ((10, 1), (30, 2)):
            m = machine(walk=rules)
            changes = m.advance(steps(*track("9999....")))
            changes += m.advance(steps(*track("9999...."), first=8 + rest))
            assert len(spans(changes)) == expected
