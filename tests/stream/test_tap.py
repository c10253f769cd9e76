"""Tap: frames in, windows in a ring out. Real sampler, scaler and ring; frames are made here."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from engine.spec import ModelSpec
from stream.failure import EndOfStream
from stream.frame import NS_PER_S, ClockSource, Frame, StreamKey
from stream.messages import EpochEnded, WindowReady, ZoneTask
from stream.reader import read_windows
from stream.ring import RingReader, RingShape, RingWriter, SharedBlock
from stream.source import Source
from stream.tap import Stopped, Tap
from stream.zone import Zone, ZoneError
from tests.video import flat, write_video

STREAM = StreamKey("cam", "full")
TASK = ZoneTask("full", ticks=4, rate_hz=10.0, height=16, width=16, picture_ticks=(0, 2))
TICK_NS = NS_PER_S // 10


def frame(tick: float, luma: int, size: tuple[int, int] = (48, 64)) -> Frame:
    """A frame of one grey at this many ticks after 5 s."""
    height, width = size
    return Frame(
        y=np.full((height, width), luma, np.uint8),
        u=np.full((height // 2, width // 2), 60, np.uint8),
        v=np.full((height // 2, width // 2), 200, np.uint8),
        pts_ns=5 * NS_PER_S + round(tick * TICK_NS),
        arrival_ns=int(tick * 1000) + 7,
        utc_ns=1_700_000_000 * NS_PER_S + 5 * NS_PER_S + round(tick * TICK_NS),
        clock=ClockSource.RTCP,
    )


class Bench:
    """A tap with the reader's side of its ring."""

    def __init__(self, task: ZoneTask = TASK, pause: Callable[[float], None] | None = None, windows: int = 4) -> None:
        shape = RingShape.for_windows(windows, task.ticks, task.height, task.width)
        block = SharedBlock.create(shape.nbytes)
        self.reader = RingReader(block, 0, shape)
        self.ticks = task.ticks
        self.told: list[WindowReady | EpochEnded] = []
        self.tap = Tap(
            STREAM,
            task,
            RingWriter(block, 0, shape),
            block=9,
            first_epoch=5,
            phase=None,
            tell=self.told.append,
            pause=pause,
        )
        block.close_descriptor()

    def feed(self, ticks: Iterable[float]) -> None:
        for tick in ticks:
            self.tap.frame(frame(tick, luma=50 + int(tick) % 201))

    def pictures(self, ready: WindowReady | EpochEnded) -> list[int]:
        """Luma in the middle of each of the window's pictures."""
        assert isinstance(ready, WindowReady)
        read = self.reader.read(ready.position, self.ticks)
        assert read is not None
        return [int(value) for value in read.pictures[:, 8, 8]]


def test_windows_tile_the_ticks() -> None:
    bench = Bench()
    bench.feed(range(9))
    assert bench.told == [WindowReady(STREAM, 5, 0, 9, 0), WindowReady(STREAM, 5, 1, 9, 4)]
    assert [bench.pictures(told) for told in bench.told] == [[50, 51, 52, 53], [54, 55, 56, 57]]


def test_times_of_a_window_are_those_of_its_frames() -> None:
    bench = Bench()
    bench.feed([0, 1, 2, 3])
    read = bench.reader.read(0, 4)
    assert read is not None
    assert read.pts_ns.tolist() == [5 * NS_PER_S + n * TICK_NS for n in range(4)]
    assert (read.last.arrival_ns, read.last.clock) == (3007, ClockSource.RTCP)
    assert read.last.utc_offset_ns == 1_700_000_000 * NS_PER_S


def test_chroma_only_where_the_network_looks_at_the_picture() -> None:
    bench = Bench()
    bench.feed(range(4))
    read = bench.reader.read(0, 4)
    assert read is not None
    u_rows = read.pictures[:, 16:20]
    assert [int(u.max()) != int(u.min()) for u in u_rows] == [True, False, True, False]  # 60 beside the black bars' 128
    assert (u_rows[1] == 128).all()


def test_the_held_frame_is_the_one_that_is_written() -> None:
    """A camera at 15 fps and a model at 10 Hz: the nearest frame of each tick, also where it came early."""
    bench = Bench()
    for n, at in enumerate([0.0, 0.9, 1.4, 2.05, 2.8, 3.1]):
        bench.tap.frame(frame(at, luma=100 + n))
    assert bench.pictures(bench.told[0]) == [100, 101, 103, 105]


def test_missing_ticks_repeat_picture_and_pts() -> None:
    bench = Bench()
    bench.feed([0, 1, 3])
    assert bench.pictures(bench.told[0]) == [50, 51, 51, 53]
    read = bench.reader.read(0, 4)
    assert read is not None
    assert read.repeated.tolist() == [False, False, True, False]
    assert read.pts_ns[2] == read.pts_ns[1]


def test_a_repeated_tick_has_colours_if_the_network_looks_at_it() -> None:
    """The tick before, whose frame it repeats, was scaled without."""
    bench = Bench()
    bench.feed([0, 1, 3])
    read = bench.reader.read(0, 4)
    assert read is not None
    assert [bool((picture[16:] == 60).any()) for picture in read.pictures] == [True, False, True, False]


def test_a_camera_and_a_file_with_missing_frames_give_the_same_windows(tmp_path: Path) -> None:
    """Training reads files with stream.reader; it must see what the network will see of a camera."""
    missing = {4, 5, 9, 10, 16, 21, 22, 27, 28, 31, 40, 41}
    times = [n * NS_PER_S // 15 for n in range(60) if n not in missing]
    pictures = (flat(64, 48, 60 + 3 * n, 90, 160 + n) for n in range(len(times)))
    path = write_video(tmp_path / "missing.mkv", pictures, 64, 48, 15, "raw", times)
    spec = ModelSpec(
        name="m",
        version="0",
        labels=("walk", "none"),
        modality="rgb+flow",
        ticks=4,
        rate_hz=10,
        height=16,
        width=16,
    )
    bench = Bench(dataclasses.replace(TASK, picture_ticks=tuple(spec.picture_ticks)), windows=20)
    with Source(str(path)) as source, suppress(EndOfStream):
        while True:
            decoded = source.read(5)
            assert decoded is not None
            bench.tap.frame(decoded)
    bench.tap.finish()
    offline = list(read_windows(path, spec))
    told = [ready for ready in bench.told if isinstance(ready, WindowReady)]
    assert bench.tap.counts.repeated > 3
    assert len(told) == len(offline) >= 9
    for ready, window in zip(told, offline, strict=True):
        read = bench.reader.read(ready.position, spec.ticks)
        assert read is not None
        assert read.pictures.tobytes() == window.pictures.tobytes()
        assert (read.pts_ns == window.pts_ns).all()


def test_a_gap_ends_the_epoch_and_forgets_the_unfinished_window() -> None:
    bench = Bench()
    bench.feed([0, 1, 2, 3, 4, 5, 20, 21, 22, 23])
    assert bench.told == [
        WindowReady(STREAM, 5, 0, 9, 0),
        EpochEnded(STREAM, 5, "gap", 5 * NS_PER_S + 5 * TICK_NS),
        WindowReady(STREAM, 6, 0, 9, 6),
    ]
    assert bench.pictures(bench.told[2]) == [70, 71, 72, 73]


def test_pts_going_backward_is_a_gap() -> None:
    bench = Bench()
    bench.feed([30, 31, 0, 1, 2, 3])
    assert bench.told[0] == EpochEnded(STREAM, 5, "gap", 5 * NS_PER_S + 31 * TICK_NS)
    assert bench.pictures(bench.told[1]) == [50, 51, 52, 53]


def test_another_picture_size_is_reconfigured() -> None:
    bench = Bench()
    for n in range(6):
        bench.tap.frame(frame(n, 80 + n, size=(48, 64) if n < 2 else (96, 128)))
    assert bench.told == [
        EpochEnded(STREAM, 5, "reconfigured", 5 * NS_PER_S + TICK_NS),
        WindowReady(STREAM, 6, 0, 9, 2),
    ]
    assert bench.pictures(bench.told[1]) == [82, 83, 84, 85]


def test_cut_settles_the_held_frame() -> None:
    bench = Bench()
    bench.feed([0, 1, 2, 2.9])
    assert bench.told == []
    bench.tap.cut("camera_lost")
    assert bench.told[1] == EpochEnded(STREAM, 5, "camera_lost", 5 * NS_PER_S + round(2.9 * TICK_NS))
    assert bench.pictures(bench.told[0]) == [50, 51, 52, 52]


def test_an_epoch_without_a_frame_has_no_end() -> None:
    bench = Bench()
    bench.tap.cut("camera_lost")
    bench.tap.abandon("shutdown")
    assert bench.told == []
    assert bench.tap.epoch == 5


def test_half_a_window_is_completed_at_the_end_of_a_file() -> None:
    bench = Bench()
    bench.feed(range(6))
    bench.tap.finish()
    assert bench.pictures(bench.told[1]) == [54, 55, 55, 55]
    assert isinstance(bench.told[2], EpochEnded)
    assert bench.told[2].reason == "eof"


def test_less_than_half_a_window_is_dropped_at_the_end_of_a_file() -> None:
    bench = Bench()
    bench.feed(range(5))
    bench.tap.finish()
    assert [type(told) for told in bench.told] == [WindowReady, EpochEnded]


def test_a_live_tap_never_waits() -> None:
    bench = Bench()
    bench.feed(range(400))
    assert len(bench.told) == 100
    newest, oldest = bench.told[-1], bench.told[0]
    assert bench.pictures(newest)
    assert isinstance(oldest, WindowReady)
    assert bench.reader.read(oldest.position, 4) is None


def test_a_file_waits_for_its_reader_and_loses_nothing() -> None:
    """The reader takes each window only when the tap is waiting: every one of them is there, and whole."""
    seen: list[list[int]] = []

    def read_the_oldest(seconds: float) -> None:
        windows = [told for told in bench.told if isinstance(told, WindowReady)]
        seen.append(bench.pictures(windows[len(seen)]))
        bench.reader.release(windows[len(seen) - 1].position + 4)

    bench = Bench(pause=read_the_oldest)
    bench.feed(range(200))
    assert len(seen) >= 45
    assert seen == [[50 + n, 51 + n, 52 + n, 53 + n] for n in range(0, 4 * len(seen), 4)]


def test_a_file_full_of_gaps_does_not_wait_for_windows_that_never_come() -> None:
    def never(seconds: float) -> None:
        raise AssertionError("waited with no window outstanding")

    bench = Bench(pause=never)
    bench.feed(epoch * 20 + n for epoch in range(5) for n in range(3))
    bench.feed([200, 201, 202, 203])
    assert sum(isinstance(told, WindowReady) for told in bench.told) == 1


def test_a_waiting_tap_can_be_stopped() -> None:
    stopping = threading.Event()

    def pause(seconds: float) -> None:
        stopping.set()
        raise Stopped

    bench = Bench(pause=pause)
    with pytest.raises(Stopped):
        bench.feed(range(100))
    bench.tap.abandon("shutdown")
    assert isinstance(bench.told[-1], EpochEnded)
    assert bench.told[-1].reason == "shutdown"


def test_a_zone_outside_the_picture_is_refused() -> None:
    bench = Bench(dataclasses.replace(TASK, zone=Zone(0, 0, 100, 100, unit="pixel")))
    with pytest.raises(ZoneError, match="64x48"):
        bench.feed([0])


def motions(bench: Bench) -> list[float]:
    return [told.motion for told in bench.told if isinstance(told, WindowReady)]


def test_motion_is_measured_against_the_window_before() -> None:
    """A grey of 50 for three windows, then one more each tick."""
    bench = Bench()
    for tick in range(20):
        bench.tap.frame(frame(tick, luma=50 + max(0, tick - 11)))
    assert motions(bench) == [0, 0, 0, 4, 7]


def test_motion_is_not_measured_across_a_gap() -> None:
    bench = Bench()
    for tick in (*range(4), *range(100, 108)):
        bench.tap.frame(frame(tick, luma=50 if tick < 100 else 90))
    assert motions(bench) == [0, 0, 0]


def test_motion_of_a_file_is_unknown() -> None:
    """So that every window of it is computed."""
    bench = Bench(pause=lambda seconds: None)
    bench.feed(range(8))
    assert motions(bench) == [math.inf, math.inf]


def test_counts_add_up() -> None:
    bench = Bench()
    bench.feed(n / 3 for n in range(60))
    counts = bench.tap.counts
    assert counts.offered == 60
    assert bench.tap.windows == 5
    assert counts.taken + sum(counts.dropped.values()) in {59, 60}  # one may be held
