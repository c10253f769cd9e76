"""The idle gating benchmark: what it takes for an action, and for the same event."""

from __future__ import annotations

from benchmarks.idle_gating import labelled, same
from stream.frame import NS_PER_S


def test_actions_of_gmdcsa_are_all_but_postures() -> None:
    assert labelled("Falling (SW)[3.4 to 6]; Sitting[0 to 3.4]") == [(3_400_000_000, 6_000_000_000)]
    assert labelled(" Sitting [0 to 7]; Standing [7.3 to 8.1]; Walking[8.1 to 11]") == [(8_100_000_000, 11_000_000_000)]
    broken = "Sitting[9.2 to 10]; Standing[2.4 to 3.6; 6.6 to 7.9; Walking[3.6 to 5.2; 7.9 to 9.2] "
    assert labelled(broken) == [(3_600_000_000, 5_200_000_000), (7_900_000_000, 9_200_000_000)]


def test_the_same_event_has_the_same_label_and_times_within_half_a_second() -> None:
    event = ("walk", 0, 4 * NS_PER_S)
    assert same(event, ("walk", NS_PER_S // 2, 4 * NS_PER_S))
    assert not same(event, ("walk", NS_PER_S, 4 * NS_PER_S))
    assert not same(event, ("run", 0, 4 * NS_PER_S))
