from __future__ import annotations

import itertools

import pytest

from stream.demo.motions import ACTIONS
from stream.demo.schedule import ACT_S, ROUND_S, Programme


def test_every_round_shows_every_action_once_for_about_five_seconds() -> None:
    programme = Programme(3)
    for n in range(4):
        spans = [s for s in programme.spans(n * ROUND_S, (n + 1) * ROUND_S - 0.001) if s.label != "none"]
        assert sorted(s.label for s in spans) == sorted(ACTIONS)
        assert all(4.5 < s.end_s - s.start_s < 5.5 for s in spans)
    orders = {tuple(s.label for s in programme.spans(n * ROUND_S, (n + 1) * ROUND_S)) for n in range(4)}
    assert len(orders) > 1


def test_spans_tile_the_time_and_pauses_lie_between() -> None:
    spans = Programme(1).spans(0, 3 * ROUND_S)
    assert spans[0].start_s == 0
    for before, after in itertools.pairwise(spans):
        assert after.start_s == pytest.approx(before.end_s)
        assert (before.label == "none") != (after.label == "none")
        if after.label == "none":
            assert 1.5 < after.end_s - after.start_s < 2.5


def test_truth_and_shots_agree_with_the_spans() -> None:
    programme = Programme(2)
    for span in programme.spans(0, 2 * ROUND_S):
        for t in (span.start_s + 0.001, (span.start_s + span.end_s) / 2, span.end_s - 0.001):
            assert programme.truth_at(t) == span.label
            shot = programme.shot_at(t)
            assert shot.start_s <= t < shot.end_s + 1e-6


def test_backgrounds_change_at_least_every_third_act() -> None:
    programme = Programme(0)
    shots = {programme.shot_at(t * 0.5).seed for t in range(round(2 * ROUND_S * 2))}
    assert len(shots) > 2 * len(ACTIONS) / 2
    assert all(programme.shot_at(t).end_s - programme.shot_at(t).start_s <= 2 * ACT_S + 0.01 for t in range(140))


def test_is_the_same_for_the_same_seed_and_asked_in_any_order() -> None:
    a, b = Programme(5), Programme(5)
    times = [float(t) for t in range(0, 800, 7)]
    assert [a.truth_at(t) for t in times] == [b.truth_at(t) for t in reversed(times)][::-1]
    assert a.spans(0, 500) != Programme(6).spans(0, 500)


def test_refuses_times_before_the_beginning_and_negative_seeds() -> None:
    with pytest.raises(ValueError, match="begins at 0"):
        Programme(0).truth_at(-0.1)
    with pytest.raises(ValueError, match="seed"):
        Programme(-1)
    assert Programme(0).spans(5, 5) == []
