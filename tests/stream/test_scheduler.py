"""Scheduler: order, batches, and what is skipped."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.frame import StreamKey
from stream.messages import WindowReady
from stream.scheduler import Pending, Scheduler

A, B, C = (StreamKey(name, "full") for name in "abc")


def window(stream: StreamKey, index: int, due_ns: int) -> Pending:
    return Pending(WindowReady(stream, 0, index, 0, index), due_ns, 0)


def scheduler(*live: StreamKey, max_batch: int = 8, backlog: int = 2) -> Scheduler[str]:
    made: Scheduler[str] = Scheduler(max_batch, backlog)
    for stream in live:
        made.add(stream, "m", lossless=False)
    return made


def taken(made: Scheduler[str]) -> list[tuple[str, int]]:
    batch = made.take()
    return [] if batch is None else [(pending.ready.stream.camera, pending.ready.index) for pending in batch[1]]


def test_nothing_waits() -> None:
    assert scheduler(A).take() is None


def test_the_most_urgent_come_first() -> None:
    made = scheduler(A, B, C, max_batch=2)
    for stream, due_ns in ((A, 30), (B, 10), (C, 20)):
        made.offer(window(stream, 0, due_ns))
    assert taken(made) == [("b", 0), ("c", 0)]
    assert taken(made) == [("a", 0)]


def test_a_stream_is_in_a_batch_once_and_in_order() -> None:
    made = scheduler(A, B)
    made.offer(window(A, 0, 10))
    made.offer(window(A, 1, 11))
    made.offer(window(B, 0, 99))
    assert taken(made) == [("a", 0), ("b", 0)]
    assert taken(made) == [("a", 1)]


def test_a_batch_never_mixes_models() -> None:
    made = scheduler(A)
    made.add(B, "other", lossless=False)
    made.add(C, "m", lossless=False)
    for stream, due_ns in ((A, 10), (B, 20), (C, 30)):
        made.offer(window(stream, 0, due_ns))
    model, batch = made.take() or ("", [])
    assert (model, [pending.ready.stream for pending in batch]) == ("m", [A, C])
    model, batch = made.take() or ("", [])
    assert (model, [pending.ready.stream for pending in batch]) == ("other", [B])


def test_beyond_the_backlog_the_oldest_is_skipped() -> None:
    made = scheduler(A, backlog=2)
    assert [made.offer(window(A, index, index)) for index in range(2)] == [[], []]
    (skipped,) = made.offer(window(A, 2, 2))
    assert skipped.ready.index == 0
    assert taken(made) == [("a", 1)]
    assert taken(made) == [("a", 2)]


def test_a_stream_that_waits_for_us_loses_nothing() -> None:
    made: Scheduler[str] = Scheduler(8, backlog=1)
    made.add(A, "m", lossless=True)
    assert [made.offer(window(A, index, index)) for index in range(20)] == [[]] * 20
    assert [taken(made) for _ in range(20)] == [[("a", index)] for index in range(20)]


def test_removing_a_stream_gives_back_what_waited() -> None:
    made = scheduler(A, B)
    made.offer(window(A, 0, 1))
    made.offer(window(A, 1, 2))
    made.offer(window(B, 0, 3))
    assert [pending.ready.index for pending in made.remove(A)] == [0, 1]
    assert made.remove(A) == []
    assert taken(made) == [("b", 0)]


@pytest.mark.parametrize(("max_batch", "backlog"), [(0, 1), (1, 0)])
def test_sizes_must_make_sense(max_batch: int, backlog: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Scheduler(max_batch, backlog)


@given(
    st.lists(st.one_of(st.sampled_from([A, B, C]), st.none()), max_size=60),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_every_window_is_taken_once_in_order_or_skipped_once(
    moves: list[StreamKey | None], max_batch: int, backlog: int
) -> None:
    """A stream: one of its windows comes. None: a batch is taken."""
    made = scheduler(A, B, C, max_batch=max_batch, backlog=backlog)
    offered: Counter[StreamKey] = Counter()
    settled: dict[StreamKey, list[int]] = {A: [], B: [], C: []}
    computed: dict[StreamKey, list[int]] = {A: [], B: [], C: []}

    def take() -> bool:
        batch = made.take()
        for pending in batch[1] if batch else []:
            settled[pending.ready.stream].append(pending.ready.index)
            computed[pending.ready.stream].append(pending.ready.index)
        return batch is not None

    for now_ns, stream in enumerate(moves):
        if stream is None:
            take()
            continue
        for skipped in made.offer(window(stream, offered[stream], now_ns)):
            settled[stream].append(skipped.ready.index)
        offered[stream] += 1
    while take():
        pass
    for stream in (A, B, C):
        assert sorted(settled[stream]) == list(range(offered[stream]))
        assert computed[stream] == sorted(computed[stream])
