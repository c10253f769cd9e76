"""Scheduler: order, batches, and what is skipped."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stream.budget import MAX_INTERVAL
from stream.frame import NS_PER_S, StreamKey
from stream.messages import WindowReady
from stream.scheduler import Batch, BatchRule, Pending, Scheduler, SkipReason

A, B, C = (StreamKey(name, "full") for name in "abc")


def window(stream: StreamKey, index: int, due_ns: int, *, offered_ns: int = 0, active: bool = True) -> Pending:
    return Pending(WindowReady(stream, 0, index, 0, index), due_ns, offered_ns, active)


def scheduler(*live: StreamKey, max_windows: int = 8, backlog: int = 2, linger_ns: int = 0) -> Scheduler[str]:
    made: Scheduler[str] = Scheduler(backlog)
    made.add_model("m", BatchRule(max_windows, linger_ns))
    for stream in live:
        made.add(stream, "m", lossless=False)
    return made


def taken(made: Scheduler[str], now_ns: int = 0) -> list[tuple[str, int]]:
    batch = made.take(now_ns)
    return [(w.ready.stream.camera, w.ready.index) for w in batch.windows] if isinstance(batch, Batch) else []


def skipped(made: Scheduler[str], pending: Pending) -> list[tuple[int, SkipReason]]:
    return [(skip.window.ready.index, skip.reason) for skip in made.offer(pending)]


def test_nothing_waits() -> None:
    assert scheduler(A).take(0) is None


def test_the_most_urgent_come_first() -> None:
    made = scheduler(A, B, C, max_windows=2)
    for stream, due_ns in ((A, 30), (B, 10), (C, 20)):
        made.offer(window(stream, 0, due_ns))
    assert taken(made) == [("b", 0), ("c", 0)]
    assert taken(made) == [("a", 0)]


def test_a_stream_is_in_a_batch_once_and_in_order() -> None:
    made = scheduler(A, B)
    made.offer(window(A, 0, 10))
    made.offer(window(A, 1, 11))
    made.offer(window(B, 0, 99))
    assert made.queued("m") == 3
    assert taken(made) == [("a", 0), ("b", 0)]
    assert taken(made) == [("a", 1)]
    assert made.queued("m") == 0


def test_a_batch_never_mixes_models() -> None:
    made = scheduler(A)
    made.add_model("other", BatchRule(8))
    made.add(B, "other", lossless=False)
    made.add(C, "m", lossless=False)
    for stream, due_ns in ((A, 10), (B, 20), (C, 30)):
        made.offer(window(stream, 0, due_ns))
    batches = [made.take(0), made.take(0)]
    assert [(b.model, [w.ready.stream for w in b.windows]) for b in batches if isinstance(b, Batch)] == [
        ("m", [A, C]),
        ("other", [B]),
    ]


# ---- when a batch leaves


def test_a_batch_lingers_for_more() -> None:
    made = scheduler(A, B, linger_ns=5)
    made.offer(window(A, 0, 1000, offered_ns=100))
    assert made.take(101) == 105
    made.offer(window(B, 0, 1002, offered_ns=102))
    assert made.take(104) == 105
    assert taken(made, 105) == [("a", 0), ("b", 0)]


def test_a_full_batch_leaves_at_once() -> None:
    made = scheduler(A, B, max_windows=2, linger_ns=50)
    made.offer(window(A, 0, 1000, offered_ns=100))
    made.offer(window(B, 0, 1000, offered_ns=100))
    assert taken(made, 100) == [("a", 0), ("b", 0)]


def test_a_deadline_ends_the_lingering_as_early_as_its_batch_takes() -> None:
    made = scheduler(A, B, linger_ns=500)
    made.computed("m", windows=2, busy_ns=60)
    made.offer(window(A, 0, 200, offered_ns=100))
    assert made.take(100) == 170
    made.offer(window(B, 0, 900, offered_ns=110))
    assert made.take(110) == 140
    assert taken(made, 140) == [("a", 0), ("b", 0)]


def test_a_batch_that_lingers_holds_up_no_other_model() -> None:
    made = scheduler(A, linger_ns=500)
    made.add_model("now", BatchRule(1))
    made.add(B, "now", lossless=False)
    made.offer(window(A, 0, 1000, offered_ns=100))
    made.offer(window(B, 0, 2000, offered_ns=100))
    assert taken(made, 100) == [("b", 0)]
    assert made.take(100) == 600


# ---- what is skipped


def test_beyond_the_backlog_the_oldest_is_skipped() -> None:
    made = scheduler(A, backlog=2)
    assert [made.offer(window(A, index, index)) for index in range(2)] == [[], []]
    assert skipped(made, window(A, 2, 2)) == [(0, SkipReason.BACKLOG)]
    assert taken(made) == [("a", 1)]
    assert taken(made) == [("a", 2)]


def test_late_windows_go_in_turn() -> None:
    """A's windows always come a little before B's; by deadline alone B would wait for ever."""
    made = scheduler(A, B, max_windows=1, backlog=1)
    computed = []
    for second in range(6):
        made.offer(window(A, second, 10 * second))
        made.offer(window(B, second, 10 * second + 1))
        computed += taken(made, 10 * second + 9)
    assert [camera for camera, _ in computed] == ["a", "b"] * 3


def test_a_camera_that_floods_gets_no_more_than_others() -> None:
    """Twenty windows a second, of a second each, for ten seconds: a burst, and then a little more than one a second."""
    made = scheduler(A)
    reasons: Counter[SkipReason] = Counter()
    computed = 0
    for n in range(200):
        now_ns = n * NS_PER_S // 20
        reasons.update(reason for _, reason in skipped(made, window(A, n, now_ns + NS_PER_S, offered_ns=now_ns)))
        computed += len(taken(made, now_ns))
    assert set(reasons) == {SkipReason.FLOOD}
    assert 10 <= computed <= 25
    assert reasons[SkipReason.FLOOD] == 200 - computed


def test_jitter_and_a_burst_after_a_stall_are_no_flood() -> None:
    made = scheduler(A)
    offered_s = [0, 1.3, 2.0, 2.9, 4.4, 5.0, 9.0, 9.01, 9.02, 10.1, 11.0, 12.0]
    for n, at_s in enumerate(offered_s):
        now_ns = round(at_s * NS_PER_S)
        assert skipped(made, window(A, n, now_ns + NS_PER_S, offered_ns=now_ns)) == []
        taken(made, now_ns)


def test_a_stream_that_waits_for_us_loses_nothing() -> None:
    made = scheduler(backlog=1)
    made.add(A, "m", lossless=True)
    assert [made.offer(window(A, index, index, active=False)) for index in range(20)] == [[]] * 20
    assert [taken(made) for _ in range(20)] == [[("a", index)] for index in range(20)]


def test_removing_a_stream_gives_back_what_waited() -> None:
    made = scheduler(A, B)
    made.offer(window(A, 0, 1))
    made.offer(window(A, 1, 2))
    made.offer(window(B, 0, 3))
    assert [pending.ready.index for pending in made.remove(A)] == [0, 1]
    assert made.remove(A) == []
    assert taken(made) == [("b", 0)]


def test_sizes_must_make_sense() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Scheduler(backlog=0)
    with pytest.raises(ValueError, match="a batch of 0 windows"):
        scheduler(max_windows=0)


@given(
    st.lists(st.one_of(st.tuples(st.sampled_from([A, B, C]), st.booleans()), st.none()), max_size=60),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_every_window_is_taken_once_in_order_or_skipped_once(
    moves: list[tuple[StreamKey, bool] | None], max_windows: int, backlog: int
) -> None:
    """A stream, and whether it is active: one of its windows comes. None: a batch is taken. All within an overload."""
    made = scheduler(A, B, C, max_windows=max_windows, backlog=backlog)
    made.computed("m", 1, NS_PER_S)
    offered: Counter[StreamKey] = Counter()
    settled: dict[StreamKey, list[int]] = {A: [], B: [], C: []}
    computed: dict[StreamKey, list[int]] = {A: [], B: [], C: []}

    def take(now_ns: int) -> bool:
        batch = made.take(now_ns)
        for pending in batch.windows if isinstance(batch, Batch) else []:
            settled[pending.ready.stream].append(pending.ready.index)
            computed[pending.ready.stream].append(pending.ready.index)
        return isinstance(batch, Batch)

    now_ns = 0
    for move in moves:
        now_ns += NS_PER_S // 4
        if move is None:
            take(now_ns)
            continue
        stream, active = move
        for skip in made.offer(window(stream, offered[stream], now_ns, offered_ns=now_ns, active=active)):
            settled[skip.window.ready.stream].append(skip.window.ready.index)
        offered[stream] += 1
    while take(now_ns):
        pass
    for stream in (A, B, C):
        assert sorted(settled[stream]) == list(range(offered[stream]))
        assert computed[stream] == sorted(computed[stream])


# ---- under load: cameras with windows of a second, and one engine that takes its time for each


class Overload:
    """Cameras whose windows of a second come at phases of their own, and one engine: a simulation."""

    def __init__(self, phases_ms: list[int], active: int, cost_ms: int) -> None:
        """active: so many of the first cameras have an event all the time."""
        self.streams = [StreamKey(f"c{n}", "full") for n in range(len(phases_ms))]
        self.active = set(self.streams[:active])
        self.scheduler = scheduler(*self.streams, max_windows=1)
        self.computed: dict[StreamKey, list[int]] = {stream: [] for stream in self.streams}
        self.skips: Counter[tuple[StreamKey, SkipReason]] = Counter()
        self.latency_ms: list[float] = []
        self.order: list[StreamKey] = []
        self._phases_ms, self._cost_ms = phases_ms, cost_ms
        self._free_ns = 0  # when the engine is

    def run(self, first_s: int, last_s: int) -> None:
        cost_ns = self._cost_ms * 1_000_000
        arrivals = sorted(
            (NS_PER_S * second + 1_000_000 * phase_ms, stream, second)
            for stream, phase_ms in zip(self.streams, self._phases_ms, strict=True)
            for second in range(first_s, last_s)
        )
        for now_ns, stream, second in arrivals:
            while self._free_ns <= now_ns and self._compute(self._free_ns):
                self._free_ns += cost_ns
            self._free_ns = max(self._free_ns, now_ns)
            offered = window(stream, second, now_ns + NS_PER_S, offered_ns=now_ns, active=stream in self.active)
            for skip in self.scheduler.offer(offered):
                self.skips[skip.window.ready.stream, skip.reason] += 1

    def _compute(self, now_ns: int) -> bool:
        batch = self.scheduler.take(now_ns)
        if not isinstance(batch, Batch):
            return False
        for pending in batch.windows:
            self.computed[pending.ready.stream].append(pending.ready.index)
            self.order.append(pending.ready.stream)
            self.latency_ms.append((now_ns - pending.offered_ns) / 1e6 + self._cost_ms)
        self.scheduler.computed("m", 1, self._cost_ms * 1_000_000)
        return True


phases = st.lists(st.integers(0, 999), min_size=8, max_size=24)


def test_under_budget_nothing_is_skipped() -> None:
    load = Overload([n * 125 for n in range(8)], active=2, cost_ms=100)
    load.run(0, 30)
    assert load.scheduler.interval == 1
    assert not load.skips


@settings(max_examples=25)
@given(phases, st.integers(0, 3), st.floats(0.3, 0.8))
def test_over_budget_idle_zones_go_slower_and_those_with_events_do_not(
    phases_ms: list[int], active: int, least_share: float
) -> None:
    """least_share: of the engine's time, with idle zones as slow as they go."""
    cost_ms = round(1000 * least_share / (active + (len(phases_ms) - active) / MAX_INTERVAL))
    assume(cost_ms * len(phases_ms) > 1000)
    load = Overload(phases_ms, active, cost_ms)
    load.run(0, 40)  # until it was found out, and the queue is gone
    assert 1 < load.scheduler.interval <= MAX_INTERVAL
    before = sum(load.skips.values())
    load.latency_ms.clear()
    for indices in load.computed.values():
        indices.clear()
    load.order.clear()
    load.run(40, 70)
    assert sum(load.skips.values()) > before
    for stream, indices in load.computed.items():
        steps = {after - at for at, after in pairwise(indices)}
        if stream in load.active:
            assert steps == {1}
        else:
            assert max(steps) <= MAX_INTERVAL  # never more than three skipped in a row
    assert max(load.latency_ms) < 1000
    # Fair: between two windows of one idle zone, every other idle zone has one too.
    idle = [stream for stream in load.order if stream not in load.active]
    served = Counter(idle)
    assert max(served.values()) - min(served.values()) <= 2
    for stream in served:
        for first, second in zip(*(iter(positions(idle, stream)[start:]) for start in (0, 2)), strict=False):
            assert set(idle[first:second]) == set(served), "one was served three times, and another not once"


def positions(order: list[StreamKey], stream: StreamKey) -> list[int]:
    return [n for n, one in enumerate(order) if one == stream]


@settings(max_examples=25)
@given(phases, st.floats(1.3, 3.0))
def test_where_even_events_are_too_many_all_are_served_alike(phases_ms: list[int], load_share: float) -> None:
    load = Overload(phases_ms, active=len(phases_ms), cost_ms=round(1000 * load_share / len(phases_ms)))
    load.run(0, 40)
    served = [len(indices) for indices in load.computed.values()]
    assert max(served) - min(served) <= 2
    assert {reason for _, reason in load.skips} == {SkipReason.BACKLOG}


def test_when_the_load_is_gone_every_window_is_computed_again() -> None:
    load = Overload([n * 50 for n in range(20)], active=1, cost_ms=120)
    load.run(0, 20)
    assert load.scheduler.interval == 3
    load._cost_ms = 20
    load.run(20, 60)
    assert load.scheduler.interval == 1
    assert load.computed[load.streams[7]][-10:] == list(range(50, 60))
