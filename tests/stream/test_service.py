"""Service: real workers, real engine, real sockets, from a video to published events."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from engine.bundle import Bundle
from engine.runtime.openvino import OpenVINOEngine
from stream.capture import CapturePool
from stream.config import Config
from stream.demo.film import FilmCamera
from stream.events import Phase
from stream.frame import ClockSource, StreamKey, Window
from stream.journal import Journal
from stream.messages import CameraFinished, EpochEnded, Message, WindowReady
from stream.plan import make_plan
from stream.publish import Publisher
from stream.recognition import Recognition
from stream.result import Recognized, Result, Skipped
from stream.scheduler import SkipReason
from stream.service import Service
from stream.wire import EventMessage, StatusMessage
from tests import video
from tests.capture_watch import workers_of
from tests.formula_bundle import SPEC
from tests.rtsp_server import RtspServer
from tests.video_file import Picture, steady, write_video


class Bench:
    """A service with all its parts, run in a thread. Made in the test's thread, run in its own."""

    def __init__(self, folder: Path, bundle: Bundle, capture: Any, make_recognition: Callable[[Any], Any]) -> None:
        self.folder, self._bundle, self._capture, self._make_recognition = folder, bundle, capture, make_recognition
        self.events: list[EventMessage] = []
        self.windows: list[tuple[Recognized, float]] = []
        self.skips: list[tuple[StreamKey, SkipReason]] = []
        self.stop = threading.Event()
        self.done: bool | None = None
        self.error: BaseException | None = None
        self.service: Service | None = None
        self.journal: Journal | None = None
        self.on_events: Callable[[Sequence[EventMessage]], None] = self.events.extend
        self._opened: Callable[[Journal], None] = lambda journal: None
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *cameras: str, opened: Callable[[Journal], None] = lambda journal: None, note: str = "") -> None:
        self._opened = opened
        config = Config.from_cameras(cameras).with_options(model=str(self._bundle.path))
        self._thread = threading.Thread(target=self._run, args=(make_plan(config), note), name="bench")
        self._thread.start()
        assert self._ready.wait(30)

    def _run(self, plan: Any, note: str) -> None:
        with contextlib.ExitStack() as stack:
            try:
                capture = stack.enter_context(self._capture)
                recognition = self._make_recognition(capture)
                stack.callback(recognition.stop)
                recognition.start()
                self.journal = Journal(self.folder / "events.sqlite3")
                stack.callback(self.journal.close)
                self._opened(self.journal)
                publisher = Publisher(self.journal, address="tcp://127.0.0.1:0", replay="tcp://127.0.0.1:0")
                stack.callback(publisher.close)
                self.address = publisher.address
                self.service = Service(
                    plan.cameras,
                    capture,
                    recognition,
                    publisher,
                    self._told,
                    note=note,
                    on_window=lambda recognized, latency_s: self.windows.append((recognized, latency_s)),
                    on_skip=lambda stream, reason: self.skips.append((stream, reason)),
                )
                self._ready.set()
                self.done = self.service.run(self.stop)
            except BaseException as error:  # noqa: BLE001  # the test looks at it
                self.error = error
            finally:
                self._ready.set()

    def wait(self, timeout_s: float = 60.0) -> bool:
        assert self._thread is not None
        self._thread.join(timeout_s)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        assert self.done is not None
        return self.done

    def until(self, fits: Callable[[], bool], timeout_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not fits():
            assert self.error is None, self.error
            assert time.monotonic() < deadline_s, f"not in {timeout_s} s; events: {self.said}"
            time.sleep(0.01)

    @property
    def said(self) -> list[tuple[str, str, str | None]]:
        """(camera, phase, reason) of each start and end."""
        changes = [event for event in list(self.events) if event.phase is not Phase.UPDATE]
        return [(e.camera, e.phase.value, e.reason and e.reason.value) for e in changes]

    def _told(self, events: Sequence[EventMessage]) -> None:
        self.on_events(events)

    def close(self) -> None:
        self.stop.set()
        if self._thread is not None:
            self._thread.join(30)
        assert self._thread is None or not self._thread.is_alive()


@pytest.fixture
def bench(tmp_path: Path, motion_bundle: Bundle) -> Iterator[Bench]:
    def recognition(capture: CapturePool) -> Recognition:
        return Recognition(capture, {str(motion_bundle.path): partial(OpenVINOEngine, motion_bundle, precision="fp32")})

    made = Bench(tmp_path, motion_bundle, CapturePool(1), recognition)
    yield made
    made.close()


def still_film(path: Path) -> Path:
    return video.write_video(path, [video.flat(160, 120, 90)] * 60, 160, 120, fps=15)


def test_a_file_from_its_beginning_to_its_end(bench: Bench, walking: Path) -> None:
    bench.start(f"cam={walking}")
    assert bench.wait()
    assert bench.said == [("cam", "start", None), ("cam", "end", "eof")]
    first, last = bench.events[0], bench.events[-1]
    assert (first.label, first.id, first.seq) == ("move", last.id, 1)
    assert 0 <= first.pts.start_ns < 500_000_000
    assert last.pts.end_ns is not None
    assert 5.5e9 < last.pts.end_ns <= 6.1e9
    assert first.latency_ms.total is not None
    assert bench.service is not None
    (camera,) = bench.service.cameras.values()
    assert camera.zones["full"].windows == 10
    assert not camera.zones["full"].skipped
    assert camera.settled


def test_nothing_moves_and_nothing_is_said(bench: Bench, tmp_path: Path) -> None:
    bench.start(f"cam={still_film(tmp_path / 'still.mp4')}")
    assert bench.wait()
    assert bench.events == []


def test_two_files_and_one_that_cannot_be_read(bench: Bench, walking: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(walking.read_bytes()[:3000])
    bench.start(f"one={walking}", f"two={walking}", f"bad={bad}")
    assert bench.wait() is False
    assert sorted(bench.said) == sorted(
        [("one", "start", None), ("one", "end", "eof"), ("two", "start", None), ("two", "end", "eof")]
    )


def test_time_that_jumps_ends_the_event(bench: Bench, tmp_path: Path) -> None:
    path = write_video(tmp_path / "jump.mkv", steady(2, 15) + steady(2, 15, start_s=60) + steady(2, 15, start_s=10))
    bench.start(f"cam={path}")
    assert bench.wait()
    ends = [reason for _, phase, reason in bench.said if phase == "end"]
    assert ends == ["gap", "gap", "eof"]
    assert [phase for _, phase, _ in bench.said] == ["start", "end"] * 3


def test_a_size_that_changes_ends_the_event(bench: Bench, tmp_path: Path) -> None:
    path = write_video(tmp_path / "size.ts", steady(2, 15) + steady(2, 15, start_s=2, size=(320, 240)))
    bench.start(f"cam={path}")
    assert bench.wait()
    assert [reason for _, phase, reason in bench.said if phase == "end"] == ["reconfigured", "eof"]


def test_a_live_camera_until_it_is_told_to_stop(bench: Bench) -> None:
    """Statuses and events arrive over ZeroMQ; the open event is ended as the service ends."""
    with RtspServer("camera", "--fps", "15", "--size", "160x120") as server, zmq.Context() as context:
        bench.start(f"cam={server.url()}", note="recognized by the second choice")
        socket = context.socket(zmq.SUB)
        socket.linger = 0
        socket.connect(bench.address)
        socket.subscribe(b"")
        bench.until(lambda: ("cam", "start", None) in bench.said)
        bench.stop.set()
        assert bench.wait()
        messages = []
        while socket.poll(500):
            messages.append(socket.recv_multipart())
        socket.close()
    assert bench.said[-1] == ("cam", "end", "shutdown")
    topics = [topic.decode() for topic, _ in messages]
    assert "event/cam/full/move" in topics
    statuses = [StatusMessage.parse(text) for topic, text in messages if topic.startswith(b"status/")]
    assert statuses[-1].state == "live"
    assert statuses[-1].message == "recognized by the second choice"
    heard = [json.loads(text)["id"] for topic, text in messages if topic.startswith(b"event/")]
    assert heard[-1] == bench.events[-1].id


def test_a_live_camera_in_which_nothing_moves(bench: Bench, tmp_path: Path) -> None:
    """Movement, four seconds of rest, movement again: both are events, and most of the rest is not computed."""
    steps = [min(n, 20) + max(0, n - 80) for n in range(110)]
    film = write_video(tmp_path / "film.mp4", [Picture(n / 15, step=step) for n, step in enumerate(steps)])
    with FilmCamera([film]) as camera:
        bench.start(f"cam={camera.url(0)}")
        bench.until(lambda: bench.said.count(("cam", "start", None)) == 2, timeout_s=30)
        bench.stop.set()
        assert bench.wait()
    idle = bench.skips.count((StreamKey("cam", "full"), SkipReason.IDLE))
    assert idle >= 2
    assert [recognized.woken for recognized, _ in bench.windows].count(True) == 1
    starts = [event.pts.start_ns / 1e9 for event in bench.events if event.phase is Phase.START]
    assert starts[1] - starts[0] == pytest.approx(5.33, abs=0.6)
    assert all(latency_s < 3 for _, latency_s in bench.windows)


def test_a_worker_that_is_killed(bench: Bench) -> None:
    with RtspServer("camera", "--fps", "15", "--size", "160x120") as server:
        bench.start(f"cam={server.url()}")
        bench.until(lambda: ("cam", "start", None) in bench.said)
        (worker,) = workers_of(os.getpid())
        worker.kill()
        bench.until(lambda: ("cam", "end", "worker_lost") in bench.said)
        bench.until(lambda: bench.said.count(("cam", "start", None)) == 2)
        bench.stop.set()
        assert bench.wait()
    assert bench.said[-1] == ("cam", "end", "shutdown")


def test_a_server_that_dies_and_returns(bench: Bench) -> None:
    with RtspServer("camera", "--fps", "15", "--size", "160x120") as first:
        bench.start(f"cam={first.url()}")
        bench.until(lambda: ("cam", "start", None) in bench.said)
    bench.until(lambda: ("cam", "end", "camera_lost") in bench.said)
    assert bench.service is not None
    bench.until(lambda: bench.service is not None and bench.service.cameras["cam"].status.error is not None)
    with RtspServer("camera", "--fps", "15", "--size", "160x120", "--port", str(first.port)):
        bench.until(lambda: bench.said.count(("cam", "start", None)) == 2)
        bench.stop.set()
        assert bench.wait()


def test_a_journal_on_a_full_disk(bench: Bench, walking: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fill(journal: Journal) -> None:
        """No page is left, and none that has room for an event."""
        pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
        journal._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        for n, size in itertools.product(range(100), (400, 20)):
            with contextlib.suppress(sqlite3.OperationalError):
                row = (journal._n, 1000 * size + n, time.time_ns(), "x", "x", "x" * size)
                journal._db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)

    bench.start(f"cam={walking}", opened=fill)
    assert bench.wait()
    assert [phase for _, phase, _ in bench.said] == ["start", "end"]
    assert "cannot be written: database or disk is full; recognition goes on" in caplog.text
    assert f"of this run, events 1 to {len(bench.events)} are lost" in caplog.text  # there was no room to the end


def test_who_reads_events_may_break(bench: Bench, walking: Path) -> None:
    """Every event that started has its end in the journal all the same."""

    def broken(events: Sequence[EventMessage]) -> None:
        bench.events.extend(events)
        raise BrokenPipeError

    bench.on_events = broken
    bench.start(f"one={walking}", f"two={walking}")
    with pytest.raises(BrokenPipeError):
        bench.wait()
    started = {event.id for event in bench.events if event.phase.value == "start"}
    assert started
    assert started == {event.id for event in bench.events if event.phase.value == "end"}


# ---- order, with messages and results in the order that the test wants


class Script:
    """Capture and recognition in one: each turn of the service hears the next entry."""

    def __init__(self, *turns: Message | Result) -> None:
        self.turns = list(turns)
        self.removed: list[StreamKey] = []
        self.offered: list[tuple[int, bool, int, bool]] = []  # index, active, idle_before, woken
        self.wakeup = 0  # standard input: poll never needs it

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, *_: object) -> None: ...
    def stop(self) -> None: ...
    def add(self, *_: object, **__: object) -> None: ...
    def forget(self, camera: str) -> None: ...

    def offer(self, ready: WindowReady, *, active: bool, idle_before: int, woken: bool) -> None:
        self.offered.append((ready.index, active, idle_before, woken))

    def remove(self, stream: StreamKey) -> None:
        self.removed.append(stream)

    def connections(self) -> list[int]:
        return []

    def receive(self) -> list[Message]:
        ours = bool(self.turns) and not isinstance(self.turns[0], Recognized | Skipped)
        return [self.turns.pop(0)] if ours else []  # type: ignore[list-item]

    def collect(self) -> list[Result]:
        ours = bool(self.turns) and isinstance(self.turns[0], Recognized | Skipped)
        return [self.turns.pop(0)] if ours else []  # type: ignore[list-item]


CAM = StreamKey("cam", "full")
MOVING, QUIET = 9.0, -9.0


def ready(index: int, epoch: int = 0, motion: float = 99.0) -> WindowReady:
    return WindowReady(CAM, epoch, index, 0, index, motion)


def still(index: int, epoch: int = 0) -> WindowReady:
    return ready(index, epoch, motion=0.0)


def result(window: WindowReady, move: float = MOVING, *, finite: bool = True) -> Recognized:
    start_ns = (window.epoch * 100 + window.index) * 600_000_000
    pts_ns = start_ns + np.arange(SPEC.ticks) * 100_000_000
    logits = np.tile(np.array([move, -64, 0], np.float32), (SPEC.steps, 1))
    pictures = np.zeros((0,), np.uint8)
    seen = Window(CAM, window.epoch, window.index, pictures, pts_ns, 0, 0, ClockSource.RTCP)
    return Recognized(window, seen, logits, finite, 1.0, 2.0)


def told(tmp_path: Path, bundle: Bundle, *turns: Message | Result) -> tuple[Bench, Script]:
    script = Script(*turns, CameraFinished("cam", "eof"))
    bench = Bench(tmp_path, bundle, script, lambda capture: capture)
    bench.start("cam=/nowhere.mp4")
    assert bench.wait(30)
    return bench, script


def test_an_epochs_end_waits_for_its_windows(tmp_path: Path, motion_bundle: Bundle) -> None:
    """The end overtakes the results of windows before it; a window after it is of another event."""
    bench, script = told(
        tmp_path,
        motion_bundle,
        ready(0),
        EpochEnded(CAM, 0, "gap", 500_000_000),
        ready(0, epoch=1),
        EpochEnded(CAM, 1, "camera_lost", 60_500_000_000),
        result(ready(0)),
        result(ready(0, epoch=1)),
    )
    assert [(phase, reason) for _, phase, reason in bench.said] == [
        ("start", None),
        ("end", "gap"),
        ("start", None),
        ("end", "camera_lost"),
    ]
    assert bench.events[0].id != bench.events[-1].id
    assert script.removed == [CAM]


def test_an_event_ends_no_later_than_its_epoch(tmp_path: Path, motion_bundle: Bundle) -> None:
    bench, _ = told(tmp_path, motion_bundle, ready(0), result(ready(0)), EpochEnded(CAM, 0, "gap", 450_000_000))
    assert bench.events[-1].pts.end_ns == 450_000_000


def test_skipped_windows_end_nothing_and_are_counted(tmp_path: Path, motion_bundle: Bundle) -> None:
    bench, _ = told(
        tmp_path,
        motion_bundle,
        *(ready(n) for n in range(4)),
        result(ready(0)),
        Skipped(ready(2), SkipReason.BACKLOG),  # told before an older one is computed
        Skipped(ready(1), SkipReason.OVERWRITTEN),
        EpochEnded(CAM, 0, "eof", None),
        result(ready(3)),
    )
    assert [(phase, reason) for _, phase, reason in bench.said] == [("start", None), ("end", "eof")]
    assert bench.service is not None
    assert bench.service.cameras["cam"].zones["full"].skipped == {"backlog": 1, "overwritten": 1}
    assert bench.skips == [(CAM, SkipReason.BACKLOG), (CAM, SkipReason.OVERWRITTEN)]
    assert [recognized.ready.index for recognized, _ in bench.windows] == [0, 3]


def test_a_zone_at_rest_is_not_computed(
    tmp_path: Path, motion_bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """From the second still window on. As it wakes, the window before goes first; nothing is logged as a fault."""
    bench, script = told(
        tmp_path,
        motion_bundle,
        *(step for n in range(2) for step in (ready(n), result(ready(n), QUIET))),
        still(2),
        result(still(2), QUIET),
        *(still(n) for n in range(3, 6)),
        ready(6),
        result(still(5), QUIET),
        result(ready(6)),
        EpochEnded(CAM, 0, "eof", None),
    )
    assert script.offered == [
        (0, False, 0, False),
        (1, False, 0, False),
        (2, False, 0, False),
        (5, False, 2, True),
        (6, False, 2, False),
    ]
    assert bench.skips == [(CAM, SkipReason.IDLE)] * 2
    assert [(phase, reason) for _, phase, reason in bench.said] == [("start", None), ("end", "eof")]
    assert not [record for record in caplog.records if "skipped" in record.getMessage()]


def test_an_epoch_that_ends_at_rest(tmp_path: Path, motion_bundle: Bundle) -> None:
    """The window held back keeps nothing waiting, and the next epoch's first window is computed."""
    bench, script = told(
        tmp_path,
        motion_bundle,
        still(0),
        result(still(0), QUIET),
        still(1),
        EpochEnded(CAM, 0, "gap", None),
        still(0, epoch=1),
        result(still(0, epoch=1), QUIET),
        still(1, epoch=1),
        EpochEnded(CAM, 1, "eof", None),
    )
    assert [(index, idle_before) for index, _, idle_before, _ in script.offered] == [(0, 0), (0, 0)]
    assert bench.skips == [(CAM, SkipReason.IDLE)] * 2


def test_a_zone_with_an_event_is_never_at_rest(tmp_path: Path, motion_bundle: Bundle) -> None:
    """However still it is, until the event has ended: after the merge gap, with the window after."""
    _, script = told(
        tmp_path,
        motion_bundle,
        *(step for n in range(4) for step in (still(n), result(still(n), MOVING if n < 3 else QUIET))),
        still(4),
        EpochEnded(CAM, 0, "eof", None),
    )
    assert [(index, active) for index, active, _, _ in script.offered] == [
        (0, False),
        (1, True),
        (2, True),
        (3, True),
    ]


def test_a_zone_with_a_window_on_its_way_is_not_at_rest(tmp_path: Path, motion_bundle: Bundle) -> None:
    """What will come of it may be an event."""
    _, script = told(
        tmp_path,
        motion_bundle,
        *(still(n) for n in range(3)),
        *(result(still(n), QUIET) for n in range(3)),
        EpochEnded(CAM, 0, "eof", None),
    )
    assert [index for index, *_ in script.offered] == [0, 1, 2]


def test_events_name_the_model_by_its_fingerprint(tmp_path: Path, motion_bundle: Bundle) -> None:
    bench, _ = told(tmp_path, motion_bundle, ready(0), result(ready(0)), EpochEnded(CAM, 0, "eof", None))
    model = bench.events[0].model
    assert (model.name, model.version) == ("motion", motion_bundle.fingerprint[:12])


def test_every_skip_is_logged(tmp_path: Path, motion_bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    """The first at once, those of the last seconds at the end."""
    skips = [Skipped(ready(n), SkipReason.BACKLOG) for n in range(3)]
    with caplog.at_level("WARNING"):
        told(tmp_path, motion_bundle, *(ready(n) for n in range(3)), *skips)
    logged = [record.getMessage() for record in caplog.records if "windows skipped" in record.getMessage()]
    assert [line.split()[2] for line in logged] == ["count=1", "count=2"]


def test_a_result_that_is_not_finite_ends_the_event(tmp_path: Path, motion_bundle: Bundle) -> None:
    bench, _ = told(
        tmp_path,
        motion_bundle,
        *(ready(n) for n in range(3)),
        result(ready(0)),
        result(ready(1), float("nan"), finite=False),
        result(ready(2)),
        EpochEnded(CAM, 0, "eof", None),
    )
    assert [reason for _, phase, reason in bench.said if phase == "end"] == ["gap", "eof"]
