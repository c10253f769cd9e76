"""Score and Tally: events held against the truth."""

from __future__ import annotations

import pytest

from stream.demo.score import SETTLED_NS, Score, Span, Tally, is_right, overlaps, score

S = 10**9


def span(label: str, start_s: float, end_s: float | None) -> Span:
    return Span(label, round(start_s * S), None if end_s is None else round(end_s * S))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 5), (4, 6), True),
        ((0, 5), (5.9, 8), True),  # within the slack
        ((0, 5), (6, 8), False),
        ((6, 8), (0, 5), False),
        ((4, None), (0, 5), True),
        ((0, None), (50, None), True),
        ((9, None), (0, 5), False),
    ],
)
def test_overlaps(a: tuple[float, float | None], b: tuple[float, float | None], expected: bool) -> None:
    assert overlaps(span("x", *a), span("x", *b)) is expected


def test_an_event_is_right_if_its_action_took_place_then() -> None:
    truth = [span("walk", 0, 5), span("none", 5, 7), span("run", 7, 12)]
    assert is_right(span("walk", 1, 4), truth)
    assert not is_right(span("run", 1, 4), truth)
    assert not is_right(span("walk", 8, 9), truth)


def test_score() -> None:
    truth = [span("walk", 0, 5), span("none", 5, 7), span("run", 7, 12), span("none", 12, 14), span("wave", 14, 19)]
    events = [span("walk", 1, 3), span("walk", 4, 5), span("wave", 7, 12), span("run", 11, None)]
    assert score(truth, events) == Score(expected=3, right=2, false_events=1)
    assert score([], []) == Score(0, 0, 0)
    assert str(score(truth, events)) == "2 of 3 actions recognized, 1 wrong event"


def programme() -> list[Span]:
    """Actions of 5 s, pauses of 2 s, for twenty minutes."""
    spans = []
    for n in range(170):
        spans += [span("none", 7 * n, 7 * n + 2), span(("walk", "run", "wave")[n % 3], 7 * n + 2, 7 * n + 7)]
    return spans


def test_a_tally_counts_for_long_and_keeps_half_a_minute() -> None:
    """The same numbers as from all of it at once, and what is asked of the truth stays short."""
    truth, tally = programme(), Tally(0)
    events: dict[str, Span] = {}
    for now_s in range(1, 1200):
        for n, action in enumerate(truth):
            if action.label == "none" or not action.start_ns <= now_s * S - S < action.end_ns:  # type: ignore[operator]
                continue
            if n % 10 == 1:
                continue  # missed
            label = "jump" if n % 10 == 3 else action.label
            over = now_s * S + S >= (action.end_ns or 0)
            events[str(n)] = Span(label, action.start_ns + S, action.end_ns if over else None)
            tally.add(str(n), events[str(n)])
        needed = [s for s in truth if s.end_ns > tally.horizon_ns and s.start_ns < now_s * S]  # type: ignore[operator]
        counted = tally.score(needed, now_s * S)
        assert len(needed) < 2 * (SETTLED_NS / S / 7 + 2)
    assert counted == score(truth, list(events.values())) == Score(expected=170, right=102, false_events=34)
    assert len(tally._events) < 10


def test_an_action_that_has_just_ended_does_not_count_yet() -> None:
    tally, truth = Tally(0), [span("walk", 0, 5), span("none", 5, 20)]
    assert tally.score(truth, 6 * S) == Score(0, 0, 0)
    assert tally.score(truth, 9 * S) == Score(1, 0, 0)
    tally.add("e", span("walk", 2, 5))
    assert tally.score(truth, 9 * S) == Score(1, 1, 0)


def test_an_action_that_was_on_when_it_began_is_not_expected_and_its_event_not_wrong() -> None:
    tally, truth = Tally(3 * S), [span("walk", 0, 5), span("none", 5, 20)]
    tally.add("e", span("walk", 3.5, 5))
    assert tally.score(truth, 10 * S) == Score(0, 0, 0)


def test_an_event_stays_right_when_its_action_is_forgotten() -> None:
    tally, truth = Tally(0), [span("walk", 0, 5), span("none", 5, 100)]
    tally.add("e", span("walk", 1, None))
    assert tally.score(truth, 10 * S) == Score(1, 1, 0)
    assert tally.score(truth, 40 * S) == Score(1, 1, 0)
    assert tally.horizon_ns == 5 * S
    later = [span("none", 5, 100)]
    tally.add("e", span("walk", 1, 45))
    assert tally.score(later, 50 * S) == Score(1, 1, 0)
