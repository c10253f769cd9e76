"""The checks find what they are for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream.events import EndReason, Phase
from stream.wire import EventMessage, Latency, ModelRef, Position, PtsSpan
from tests.faults.invariants import broken, undelivered
from tests.faults.vitals import Sample, grown, sparkline, trend

RUN = "01RUN"


def message(seq: int, id_: str, phase: Phase, second: float, camera: str = "a") -> EventMessage:
    end = phase is Phase.END
    return EventMessage(
        run=RUN,
        seq=seq,
        prev=Position(run=RUN, seq=seq - 1) if seq > 1 else None,
        id=id_,
        phase=phase,
        camera=camera,
        zone="full",
        label="move",
        score=0.9,
        peak=0.9,
        start="2026-11-24T11:00:00.000Z",
        end=f"2026-11-24T11:00:{second:06.3f}Z" if end else None,
        clock="rtcp",
        pts=PtsSpan(start_ns=10**9, end_ns=10**9 + round(second * 1e9) if end else None),
        model=ModelRef(name="motion", version="1"),
        latency_ms=Latency(),
        reason=EndReason.SCORE if end else None,
    )


GOOD = [
    message(1, "x", Phase.START, 0),
    message(2, "x", Phase.UPDATE, 1),
    message(3, "x", Phase.END, 2),
    message(4, "y", Phase.START, 0),
    message(5, "y", Phase.END, 1),
]

Spoil = Callable[[list[EventMessage]], list[EventMessage]]


def changed(number: int, **fields: object) -> Spoil:
    return lambda events: [e.model_copy(update=fields) if n == number else e for n, e in enumerate(events)]


def test_what_is_right() -> None:
    assert broken(GOOD) == []
    assert broken(GOOD[:4], over=False) == []
    assert undelivered(GOOD, GOOD) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda e: e[:4], "never ended"),
        (lambda e: [e[0], *e[2:]], "seq 2 was to come"),
        (lambda e: [*e, e[-1]], "seq 6 was to come"),
        (lambda e: e[1:], "has not started"),
        (changed(1, phase=Phase.START), "has started"),
        (changed(4, id="x"), "after the end"),
        (changed(2, reason=None), "without a reason"),
        (changed(2, end="2026-11-24T12:00:02.000Z"), "3602.000 s by UTC"),
        (changed(2, pts=PtsSpan(start_ns=10**9, end_ns=0)), "ends before it starts"),
        (changed(2, start="2026-11-24T11:00:01.000Z"), "its end says"),
        (changed(3, prev=None), "prev is None"),
    ],
)
def test_what_is_wrong(spoil: Spoil, words: str) -> None:
    assert any(words in problem for problem in broken(spoil(GOOD)))


@pytest.mark.parametrize("got", [GOOD[:-1], GOOD[1:], [*GOOD, GOOD[-1]], [GOOD[1], GOOD[0], *GOOD[2:]]])
def test_what_did_not_arrive(got: list[EventMessage]) -> None:
    (problem,) = undelivered(GOOD, got)
    assert f"got {len(got)} of 5 events" in problem


def hour(rss: Callable[[float], float] = lambda s: 160.0, **more: Callable[[float], int]) -> list[Sample]:
    def at(s: float, name: str, usual: int) -> int:
        return more[name](s) if name in more else usual

    return [
        Sample(
            at_s=s,
            rss_mib=rss(s),
            files=at(s, "files", 27),
            threads=at(s, "threads", 7),
            workers=2,
            workers_mib=260.0,
            workers_files=at(s, "workers_files", 60),
            workers_threads=at(s, "workers_threads", 40),
            zombies=at(s, "zombies", 0),
        )
        for s in map(float, range(0, 3600, 10))
    ]


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (hour(lambda s: 160 + 3.2 * s / 3600), "memory grows by 2.0 % an hour"),
        (hour(files=lambda s: 27 + int(s / 360)), "more file handles"),
        (hour(threads=lambda s: 7 + int(s / 900)), "more threads"),
        (hour(workers_files=lambda s: 60 + int(s / 360)), "workers: 5 more file handles"),
        (hour(workers_threads=lambda s: 40 + int(s / 360)), "workers: 5 more threads"),
        (hour(zombies=lambda s: int(600 < s < 700)), "was not waited for at 630 s"),
    ],
)
def test_what_grows(samples: list[Sample], words: str) -> None:
    assert any(words in problem for problem in grown(samples))


def test_what_does_not_grow() -> None:
    """Warming up, peaks and a single zombie are no growth."""
    samples = hour(
        lambda s: 120 + min(40.0, s / 10) + (30 if s % 300 == 0 else 0),
        files=lambda s: 27 + 8 * (s % 100 == 0),
        zombies=lambda s: int(s % 100 == 0),
    )
    assert grown(samples) == []
    assert trend(samples).slope_per_hour == pytest.approx(0.0, abs=1e-3)


def test_a_sparkline() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5.0] * 100, 10) == "▁" * 10
