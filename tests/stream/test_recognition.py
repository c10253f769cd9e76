"""Recognition on the real engine, with windows that the test makes: order, states, skips, and engines that break."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.bundle import Bundle
from engine.runtime.base import Engine, EngineError, Inference
from engine.runtime.openvino import OpenVINOEngine
from stream.frame import ClockSource, StreamKey, Window
from stream.messages import WindowReady
from stream.recognition import Recognition, RecognitionError
from stream.result import Recognized, Result, Skipped
from stream.scheduler import SkipReason
from tests.formula_bundle import SPEC, windows_seen

A, B = StreamKey("a", "full"), StreamKey("b", "full")
GREY, WHITE = 128, 235


class Shelf:
    """Windows to be fetched, in the place of capture's rings. `closed` holds whoever fetches."""

    def __init__(self) -> None:
        self.windows: dict[WindowReady, Window] = {}
        self.skipped: list[WindowReady] = []
        self.open = threading.Event()
        self.open.set()
        self.fetched: list[WindowReady] = []

    def put(self, stream: StreamKey, index: int, *, epoch: int = 0, luma: int = GREY) -> WindowReady:
        ready = WindowReady(stream, epoch, index, 0, index)
        pictures = np.full((SPEC.ticks, SPEC.height * 3 // 2, SPEC.width), 128, np.uint8)
        pictures[:, : SPEC.height] = luma
        pts_ns = (index * SPEC.ticks + np.arange(SPEC.ticks)) * 100_000_000
        self.windows[ready] = Window(stream, epoch, index, pictures, pts_ns, 0, 0, ClockSource.ARRIVAL)
        return ready

    def window(self, ready: WindowReady) -> Window | None:
        self.fetched.append(ready)
        assert self.open.wait(30)
        return self.windows.get(ready)

    def skip(self, ready: WindowReady) -> None:
        self.skipped.append(ready)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def start(shelf: Shelf, motion_bundle: Bundle) -> Iterator[Callable[..., Recognition]]:
    """start(*streams, lossless=..., make=...): a recognition with these streams; it is stopped afterwards."""
    started: list[Recognition] = []

    def begin(
        *streams: StreamKey,
        lossless: bool = False,
        make: Callable[[], Engine] | None = None,
        max_batch: int | None = None,
    ) -> Recognition:
        makers = {"m": make or (lambda: OpenVINOEngine(motion_bundle, precision="fp32"))}
        recognition = Recognition(shelf, makers, max_batch)  # type: ignore[arg-type]
        started.append(recognition)
        recognition.start()
        for stream in streams:
            recognition.add(stream, "m", lossless=lossless)
        return recognition

    yield begin
    shelf.open.set()
    for recognition in started:
        recognition.stop()


def results(recognition: Recognition, count: int) -> list[Result]:
    """So many results, as they come."""
    found: list[Result] = []
    deadline_s = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < deadline_s, f"only {found}"
        select.select([recognition.wakeup], [], [], 1.0)
        found += recognition.collect()
    assert len(found) == count
    return found


def seen(recognition: Recognition, ready: WindowReady, idle_before: int = 0) -> int:
    """Offer a window and wait; how many windows its stream's state has seen then."""
    recognition.offer(ready, idle_before=idle_before)
    (result,) = results(recognition, 1)
    assert isinstance(result, Recognized)
    assert result.ready == ready
    return windows_seen(result.logits)


def test_state_is_carried_from_window_to_window(shelf: Shelf, start: Callable[..., Recognition]) -> None:
    recognition = start(A, B)
    assert [seen(recognition, shelf.put(A, index)) for index in range(4)] == [1, 2, 3, 4]
    assert seen(recognition, shelf.put(B, 0)) == 1
    assert seen(recognition, shelf.put(A, 4)) == 5


def test_streams_that_wait_go_together(shelf: Shelf, motion_bundle: Bundle, start: Callable[..., Recognition]) -> None:
    """While one window is computed others come; they are one batch then, as large as the engine has lanes, and each has
    its own state."""
    recognition = start(A, B, make=lambda: OpenVINOEngine(motion_bundle, threads=2, precision="fp32"))
    shelf.open.clear()
    for ready in (shelf.put(A, 0), shelf.put(B, 0)):
        recognition.offer(ready)
    while not shelf.fetched:
        time.sleep(0.001)
    recognition.offer(shelf.put(A, 1))
    shelf.open.set()
    found = results(recognition, 3)
    counts = {(r.ready.stream, r.ready.index): windows_seen(r.logits) for r in found if isinstance(r, Recognized)}
    assert counts == {(A, 0): 1, (B, 0): 1, (A, 1): 2}
    assert all(isinstance(r, Recognized) and r.infer_ms > 0 and r.queue_ms >= 0 for r in found)
    assert recognition.engine_stats()["m"].batch_sizes == {1: 1, 2: 1}


def test_cameras_go_before_files(shelf: Shelf, start: Callable[..., Recognition]) -> None:
    recognition = start(A, B)
    file = StreamKey("file", "full")
    recognition.add(file, "m", lossless=True)
    shelf.open.clear()
    recognition.offer(shelf.put(A, 0))
    while not shelf.fetched:
        time.sleep(0.001)
    for stream in (file, B):
        recognition.offer(shelf.put(stream, 0))
    shelf.open.set()
    assert [result.ready.stream for result in results(recognition, 3)] == [A, B, file]


def test_a_new_epoch_begins_with_zeros(shelf: Shelf, start: Callable[..., Recognition]) -> None:
    recognition = start(A)
    assert [seen(recognition, shelf.put(A, index)) for index in range(2)] == [1, 2]
    assert seen(recognition, shelf.put(A, 0, epoch=1)) == 1
    assert seen(recognition, shelf.put(A, 1, epoch=1)) == 2


def test_three_skipped_windows_leave_the_state_as_it_is_and_four_zero_it(
    shelf: Shelf, start: Callable[..., Recognition]
) -> None:
    recognition = start(A)
    assert [seen(recognition, shelf.put(A, index)) for index in range(2)] == [1, 2]
    assert seen(recognition, shelf.put(A, 5)) == 3
    assert seen(recognition, shelf.put(A, 10)) == 1


def test_idle_windows_are_not_counted_as_skipped(shelf: Shelf, start: Callable[..., Recognition]) -> None:
    """However long a zone was at rest, its state goes on; skipped windows beside it still count."""
    recognition = start(A)
    assert seen(recognition, shelf.put(A, 0)) == 1
    assert seen(recognition, shelf.put(A, 1000), idle_before=999) == 2
    assert seen(recognition, shelf.put(A, 1010), idle_before=1006) == 3  # seven more idle, two skipped
    assert seen(recognition, shelf.put(A, 1015), idle_before=1006) == 1  # four skipped


def test_a_window_that_was_overwritten_is_skipped(shelf: Shelf, start: Callable[..., Recognition]) -> None:
    recognition = start(A)
    assert seen(recognition, shelf.put(A, 0)) == 1
    gone = replace(shelf.put(A, 1), position=999)
    recognition.offer(gone)
    assert results(recognition, 1) == [Skipped(gone, SkipReason.OVERWRITTEN)]
    assert seen(recognition, shelf.put(A, 2)) == 2


def test_what_cannot_be_computed_in_time_is_skipped_and_told(shelf: Shelf, start: Callable[..., Recognition]) -> None:
    recognition = start(A)
    shelf.open.clear()
    ready = [shelf.put(A, index) for index in range(5)]
    recognition.offer(ready[0])
    while not shelf.fetched:
        time.sleep(0.001)
    for window in ready[1:]:
        recognition.offer(window)
    assert recognition.collect() == [Skipped(ready[1], SkipReason.BACKLOG), Skipped(ready[2], SkipReason.BACKLOG)]
    assert shelf.skipped == ready[1:3]
    shelf.open.set()
    found = results(recognition, 3)
    assert [r.ready for r in found] == [ready[0], ready[3], ready[4]]
    assert [windows_seen(r.logits) for r in found if isinstance(r, Recognized)] == [1, 2, 3]


class Slow(OpenVINOEngine):
    def infer(self, *args: Any) -> Inference:
        time.sleep(0.07)
        return super().infer(*args)


def test_idle_zones_go_slower_when_more_falls_due_than_can_be_computed(
    shelf: Shelf, motion_bundle: Bundle, start: Callable[..., Recognition], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty windows a second of 0.07 s each. The zone with an event keeps its rate, once the load is known."""
    monkeypatch.setattr("stream.budget.PERIOD_NS", 300_000_000)
    streams = [StreamKey(f"camera-{n}", "full") for n in range(4)]
    recognition = start(*streams, make=lambda: Slow(motion_bundle, precision="fp32"))
    found: list[Result] = []
    for index in range(12):
        for stream in streams:
            recognition.offer(shelf.put(stream, index), active=stream == streams[0])
            time.sleep(0.05)
        found += recognition.collect()
    assert recognition.interval > 1
    stretched = [r.ready for r in found if isinstance(r, Skipped) and r.reason is SkipReason.STRETCHED]
    assert {ready.stream for ready in stretched} == set(streams[1:])
    assert set(stretched) <= set(shelf.skipped)
    computed = [r for r in found if isinstance(r, Recognized)]
    last = [r.ready.index for r in computed if r.ready.stream == streams[0]][-5:]
    assert np.diff(last).tolist() == [1] * 4
    for stream in streams:
        seen_windows = [windows_seen(r.logits) for r in computed if r.ready.stream == stream]
        assert seen_windows == list(range(1, len(seen_windows) + 1)), "no state was zeroed"


def test_what_each_engine_has_done(shelf: Shelf, start: Callable[..., Recognition]) -> None:
    recognition = start(A, B, max_batch=2)
    shelf.open.clear()
    recognition.offer(shelf.put(A, 0))
    while not shelf.fetched:
        time.sleep(0.001)
    for ready in (shelf.put(A, 1), shelf.put(B, 0)):
        recognition.offer(ready)
    assert recognition.engine_stats()["m"].queued == 2
    shelf.open.set()
    results(recognition, 3)
    stats = recognition.engine_stats()["m"]
    assert (stats.batches, stats.windows, stats.batch_sizes, stats.queued) == (2, 3, {1: 1, 2: 1}, 0)
    assert stats.busy_s > 0
    assert stats.info.kind == "openvino"


def test_a_file_loses_nothing(shelf: Shelf, start: Callable[..., Recognition]) -> None:
    recognition = start(A, lossless=True)
    shelf.open.clear()
    for index in range(12):
        recognition.offer(shelf.put(A, index))
    shelf.open.set()
    found = results(recognition, 12)
    assert [r.ready.index for r in found] == list(range(12))
    assert not shelf.skipped


def test_a_result_that_is_not_finite_zeroes_its_own_state_only(shelf: Shelf, start: Callable[..., Recognition]) -> None:
    recognition = start(A, B)
    for stream in (A, B):
        assert [seen(recognition, shelf.put(stream, index)) for index in range(2)] == [1, 2]
    recognition.offer(shelf.put(A, 2, luma=WHITE))
    (result,) = results(recognition, 1)
    assert isinstance(result, Recognized)
    assert not result.finite
    assert seen(recognition, shelf.put(A, 3)) == 1
    assert seen(recognition, shelf.put(B, 2)) == 3


def test_a_removed_stream_is_forgotten(shelf: Shelf, start: Callable[..., Recognition]) -> None:
    """Also the window that is being computed: one of the same name that comes then has a state of its own."""
    recognition = start(A)
    assert seen(recognition, shelf.put(A, 0)) == 1
    shelf.open.clear()
    fetched = len(shelf.fetched)
    computing, waiting = shelf.put(A, 1), shelf.put(A, 2)
    recognition.offer(computing)
    while len(shelf.fetched) == fetched:
        time.sleep(0.001)
    recognition.offer(waiting)
    recognition.remove(A)
    recognition.remove(A)
    assert shelf.skipped == [waiting]
    recognition.offer(waiting)  # on its way when the stream was removed
    assert shelf.skipped == [waiting, waiting]
    recognition.add(A, "m", lossless=False)
    shelf.open.set()
    assert seen(recognition, shelf.put(A, 0, epoch=1)) == 1


def test_states_of_removed_streams_are_freed(shelf: Shelf, motion_bundle: Bundle, start: Callable[..., Any]) -> None:
    engine: list[OpenVINOEngine] = []

    def make() -> Engine:
        engine.append(OpenVINOEngine(motion_bundle, precision="fp32"))
        return engine[0]

    recognition = start(make=make)
    for n in range(20):
        stream = StreamKey(f"camera-{n}", "full")
        recognition.add(stream, "m", lossless=False)
        assert seen(recognition, shelf.put(stream, 0)) == 1
        recognition.remove(stream)
    recognition.add(A, "m", lossless=False)
    assert seen(recognition, shelf.put(A, 0)) == 1
    assert len(engine[0]._store) == 1


def test_an_engine_that_cannot_be_had(shelf: Shelf) -> None:
    def fail() -> Engine:
        raise EngineError("no such engine here")

    recognition = Recognition(shelf, {"m": fail})  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="no such engine here"):
        recognition.start()
    recognition.stop()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(recognition.wakeup)


class Breaking(OpenVINOEngine):
    """Breaks at its second batch."""

    batches = 0
    closed = False

    def infer(self, *args: Any) -> Inference:
        self.batches += 1
        if self.batches > 1:
            raise RuntimeError("device\nlost")
        return super().infer(*args)

    def close(self) -> None:
        super().close()
        Breaking.closed = True


def test_an_engine_that_breaks_while_it_serves(
    shelf: Shelf, motion_bundle: Bundle, start: Callable[..., Recognition]
) -> None:
    recognition = start(A, make=lambda: Breaking(motion_bundle, precision="fp32"))
    assert seen(recognition, shelf.put(A, 0)) == 1
    recognition.offer(shelf.put(A, 1))
    with pytest.raises(RecognitionError, match="RuntimeError: device lost"):
        results(recognition, 1)
    recognition.offer(shelf.put(A, 2))  # nobody computes it, and nothing hangs
    deadline_s = time.monotonic() + 10
    while not Breaking.closed:
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


def test_stopping_with_windows_waiting(shelf: Shelf, motion_bundle: Bundle) -> None:
    """The batch that is being computed is the last."""
    recognition = Recognition(shelf, {"m": lambda: OpenVINOEngine(motion_bundle, precision="fp32")})  # type: ignore[arg-type]
    recognition.start()
    recognition.add(A, "m", lossless=True)
    shelf.open.clear()
    for index in range(50):
        recognition.offer(shelf.put(A, index))
    while not shelf.fetched:
        time.sleep(0.001)
    threading.Timer(0.2, shelf.open.set).start()
    recognition.stop()
    assert len(shelf.fetched) <= 2
    assert not [thread for thread in threading.enumerate() if thread.name == "recognition"]
