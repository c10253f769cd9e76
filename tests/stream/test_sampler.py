from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.frame import NS_PER_S
from stream.sampler import (
    MAX_REPEATS,
    Action,
    ClipSampler,
    Drop,
    DropReason,
    Gap,
    GapReason,
    Hold,
    Repeat,
    Take,
    phase_of,
)

RATE_HZ = 12
TICKS = 12
TICK_NS = NS_PER_S / RATE_HZ
CAMERA_RATES = [12, 15, 24, 25, Fraction(30000, 1001), 30, 60]


@dataclass
class Played:
    """What a caller of the sampler ends up with: per epoch, the PTS of each tick."""

    epochs: list[list[int]] = field(default_factory=lambda: [[]])
    repeats: list[tuple[int, int]] = field(default_factory=list)  # epoch, tick
    gaps: list[GapReason] = field(default_factory=list)
    drops: Counter[DropReason] = field(default_factory=Counter)
    held: int | None = None

    def obey(self, actions: list[Action], pts_ns: int | None) -> None:
        """Carry out the actions as a worker does, and check that they can be carried out."""
        ticks = self.epochs[-1]
        for action in actions:
            match action:
                case Take(tick, held):
                    taken = self.held if held else pts_ns
                    assert taken is not None
                    assert tick == len(ticks)
                    ticks.append(taken)
                    self.held = None
                case Repeat(tick):
                    assert tick == len(ticks)
                    assert ticks, "nothing to repeat"
                    self.repeats.append((len(self.epochs) - 1, tick))
                    ticks.append(ticks[-1])
                case Gap(reason):
                    assert self.held is None, "the held frame must be settled before its epoch ends"
                    self.gaps.append(reason)
                    ticks = []
                    self.epochs.append(ticks)
                case Hold():
                    self.held = pts_ns
                case Drop(reason):
                    self.drops[reason] += 1


def play(pts: list[int], sampler: ClipSampler | None = None, finish: bool = True) -> Played:
    sampler = sampler or ClipSampler(RATE_HZ, TICKS)
    played = Played()
    for time_ns in pts:
        played.obey(sampler.offer(time_ns), time_ns)
    if finish:
        played.obey(sampler.cut(), None)
    return played


def camera(fps: float | Fraction, seconds: float, start_ns: int = 0) -> list[int]:
    return [start_ns + round(n * NS_PER_S / Fraction(fps)) for n in range(int(seconds * fps))]


def nearest(pts: list[int], t0_ns: int) -> dict[int, int]:
    """An independent statement of the rule: tick -> PTS of the nearest frame within half a tick."""
    best: dict[int, int] = {}
    for time_ns in pts:
        position = Fraction(time_ns - t0_ns) * RATE_HZ / NS_PER_S
        tick = (position + Fraction(1, 2)).__floor__()
        distance = abs(position - tick)
        if tick not in best or distance < abs(Fraction(best[tick] - t0_ns) * RATE_HZ / NS_PER_S - tick):
            best[tick] = time_ns
    return best


@pytest.mark.parametrize("fps", CAMERA_RATES, ids=float)
def test_every_camera_fills_every_tick_with_its_nearest_frame(fps: Fraction) -> None:
    pts = camera(fps, 20, start_ns=987_654_321)
    played = play(pts)
    assert not played.gaps
    assert not played.repeats
    (ticks,) = played.epochs
    assert len(ticks) >= 19 * RATE_HZ
    assert dict(enumerate(ticks)) == nearest(pts, pts[0])


def test_a_fast_and_a_slow_camera_show_the_same_moments() -> None:
    fast, slow = play(camera(60, 10)).epochs[0], play(camera(12, 10)).epochs[0]
    assert all(abs(a - b) <= TICK_NS / 2 for a, b in zip(fast, slow, strict=False))


@st.composite
def jittered(draw: st.DrawFn) -> list[int]:
    """Frames of a camera with jitter and lost frames, in order."""
    fps = draw(st.sampled_from(CAMERA_RATES))
    jitter = draw(st.integers(0, round(0.49 * NS_PER_S / fps)))
    frames = camera(fps, draw(st.integers(1, 4)), draw(st.integers(0, 10**15)))
    moved = [t + draw(st.integers(-jitter, jitter)) for t in frames]
    lost = draw(st.sets(st.integers(1, max(len(moved) - 1, 1)), max_size=len(moved) // 2))
    return sorted({t for n, t in enumerate(moved) if n not in lost})


@settings(max_examples=300, deadline=None)
@given(jittered())
def test_ticks_are_gapless_and_take_the_nearest_frame(pts: list[int]) -> None:
    sampler = ClipSampler(RATE_HZ, TICKS)
    played = play(pts, sampler)
    repeated = set(played.repeats)
    rest = pts
    for number, ticks in enumerate(played.epochs):
        t0 = ticks[0]
        expected = nearest([t for t in rest if t >= t0], t0)
        for tick, time_ns in enumerate(ticks):
            if (number, tick) in repeated:
                assert tick not in expected
                assert time_ns == ticks[tick - 1]
            else:
                assert expected[tick] == time_ns
        last = len(ticks) - 1
        later = [tick for tick in expected if tick > last]
        assert (number == len(played.epochs) - 1) == (not later)
        assert all(tick - last - 1 > MAX_REPEATS for tick in later)
        rest = [t for t in rest if t > ticks[-1]]
    counts = sampler.counts
    assert counts.offered == len(pts) == counts.taken + counts.dropped.total()
    assert counts.repeated == len(played.repeats)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=60), st.one_of(st.none(), st.floats(0, 0.999)))
def test_no_sequence_of_times_breaks_the_order_of_ticks(steps: list[int], phase: float | None) -> None:
    """Any PTS at all: `obey` checks that every action can be carried out; nothing is lost count of."""
    pts, now = [], 10**12
    for step in steps:
        now += step
        pts.append(now)
    sampler = ClipSampler(RATE_HZ, TICKS, phase)
    played = play(pts, sampler)
    assert sampler.counts.offered == sampler.counts.taken + sampler.counts.dropped.total()
    assert all(late >= early for ticks in played.epochs for early, late in itertools.pairwise(ticks))


@pytest.mark.parametrize("missing", [1, 2])
def test_up_to_two_missing_ticks_repeat_the_picture(missing: int) -> None:
    pts = [round(n * TICK_NS) for n in range(20) if not 5 <= n < 5 + missing]
    played = play(pts)
    assert not played.gaps
    assert [tick for _, tick in played.repeats] == [5, 6][:missing]
    assert played.epochs[0][5] == pts[4]
    assert len(played.epochs[0]) == 20


def test_three_missing_ticks_are_a_gap() -> None:
    pts = [round(n * TICK_NS) for n in range(20) if not 5 <= n < 8]
    played = play(pts)
    assert played.gaps == [GapReason.FORWARD]
    assert [len(ticks) for ticks in played.epochs] == [5, 12]
    assert not played.repeats


def test_a_freeze_is_a_gap_when_frames_come_again() -> None:
    played = play(camera(25, 2) + camera(25, 2, start_ns=30 * NS_PER_S))
    assert played.gaps == [GapReason.FORWARD]
    assert played.epochs[1][0] == 30 * NS_PER_S


def test_a_clock_set_back_begins_a_new_epoch() -> None:
    sampler = ClipSampler(RATE_HZ, TICKS)
    played = play(camera(25, 2, start_ns=10 * NS_PER_S) + camera(25, 2, start_ns=3 * NS_PER_S), sampler, finish=False)
    assert played.gaps == [GapReason.BACKWARD]
    assert sampler.epoch == 1
    assert played.epochs[1][0] == 3 * NS_PER_S


def test_late_and_duplicate_frames_are_dropped_and_counted() -> None:
    pts = camera(25, 2)
    awkward = [*pts[:20], pts[19], pts[18], *pts[20:]]
    sampler = ClipSampler(RATE_HZ, TICKS)
    assert play(awkward, sampler).epochs == play(pts).epochs
    assert sampler.counts.dropped[DropReason.DUPLICATE] == 1
    assert sampler.counts.dropped[DropReason.LATE] == 1


def test_a_camera_that_repeats_one_time_forever_makes_no_ticks() -> None:
    played = play([5] * 1000)
    assert played.epochs == [[5]]
    assert played.drops[DropReason.DUPLICATE] == 999


def test_a_tick_is_final_as_soon_as_its_time_has_come() -> None:
    sampler = ClipSampler(RATE_HZ, TICKS)
    sampler.offer(0)
    before, after = round(TICK_NS * 0.8), round(TICK_NS * 1.1)
    assert sampler.offer(before) == [Hold()]
    assert sampler.offer(after) == [Take(1, held=False)]


def test_the_held_frame_is_taken_when_it_is_nearer() -> None:
    sampler = ClipSampler(RATE_HZ, TICKS)
    sampler.offer(0)
    assert sampler.offer(round(TICK_NS * 0.9)) == [Hold()]
    assert sampler.offer(round(TICK_NS * 1.3)) == [Take(1, held=True), Drop(DropReason.NOT_SAMPLED)]


def test_live_epochs_begin_at_the_phase_of_the_camera() -> None:
    phase = 0.25
    sampler = ClipSampler(RATE_HZ, TICKS, phase)
    played = play(camera(60, 5, start_ns=7 * NS_PER_S + 400_000_000), sampler)
    first = played.epochs[0][0]
    assert abs(first - (8 * NS_PER_S + NS_PER_S // 4)) <= NS_PER_S // 60
    assert played.drops[DropReason.PHASE] > 0


def test_phases_of_cameras_are_spread_and_fixed() -> None:
    phases = sorted(phase_of(f"camera-{n}") for n in range(1000))
    assert 0 <= phases[0] < 0.01
    assert 0.99 < phases[-1] < 1
    assert max(b - a for a, b in itertools.pairwise(phases)) < 0.02
    assert phase_of("front-door") == phase_of("front-door")


@pytest.mark.parametrize(("seconds", "ticks"), [(1.3, 12), (1.6, 24), (0.3, 0), (2.0, 24)])
def test_a_file_completes_its_last_window_if_half_of_it_is_there(seconds: float, ticks: int) -> None:
    sampler = ClipSampler(RATE_HZ, TICKS)
    played = play(camera(60, seconds), sampler, finish=False)
    played.obey(sampler.finish(), None)
    assert len(played.epochs[0]) // TICKS == ticks // TICKS
    assert len(played.epochs[0]) >= ticks


def test_a_cut_settles_the_held_frame_and_begins_anew() -> None:
    sampler = ClipSampler(RATE_HZ, TICKS)
    sampler.offer(0)
    sampler.offer(round(TICK_NS * 0.9))
    assert sampler.cut() == [Take(1, held=True)]
    assert sampler.epoch == 1
    assert sampler.cut() == []
    assert sampler.epoch == 1, "an epoch without frames is none"
    assert sampler.offer(10**12) == [Take(0, held=False)]


def test_a_month_does_not_drift() -> None:
    sampler = ClipSampler(Fraction(30000, 1001).__float__(), TICKS)
    month_ns = 30 * 86400 * NS_PER_S
    sampler.offer(0)
    period = Fraction(1001 * NS_PER_S, 30000)
    number = round(month_ns / period)
    for n in range(1, number, number // 50):
        assert sampler._locate(round(n * period))[0] == n


def test_nonsense_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        ClipSampler(0, 12)
