"""Camera in this process, with real files and RTSP. With worker processes around it: test_capture.py."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from stream import reconnect
from stream.camera import Camera, enough, mean_deviation
from stream.failure import ErrorClass, SourceError
from stream.frame import Frame, StreamKey
from stream.messages import CameraFinished, CameraStatus, CameraTask, EpochEnd, EpochEnded, Message, WindowReady
from stream.reconnect import ReconnectBudget
from stream.ring import RingShape, RingWriter, SharedBlock
from stream.tap import Tap
from stream.zone import Zone
from tests.capture_watch import ZONE, camera
from tests.rtsp_server import RtspServer
from tests.video_file import steady, write_video

M = TypeVar("M", bound=Message)


class Told:
    """What a camera told, in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._changed = threading.Condition()

    def __call__(self, message: Message) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def wait_for(self, fits: Callable[[Message], bool], timeout_s: float = 20.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(fits, self.messages)), timeout_s), self.messages

    def of(self, kind: type[M]) -> list[M]:
        return [message for message in self.messages if isinstance(message, kind)]


@contextmanager
def running(task: CameraTask, told: Told, tap: type[Tap] = Tap) -> Iterator[Camera]:
    """A camera whose windows nobody reads, overwriting the oldest."""
    made = Camera(task, told, ReconnectBudget(1000))
    taps = []
    for zone in task.zones:
        shape = RingShape.for_windows(4, zone.ticks, zone.height, zone.width)
        block = SharedBlock.create(shape.nbytes)
        taps.append(
            tap(
                StreamKey(task.name, zone.name),
                zone,
                RingWriter(block, 0, shape),
                block=0,
                first_epoch=0,
                phase=None,
                tell=told,
                pause=None,
            )
        )
        block.close_descriptor()
    made.start(taps)
    try:
        yield made
    finally:
        made.stop("shutdown")
        made.join(10.0)
        assert made.ended


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "steady.mkv", steady(2, 15))


def test_the_story_of_a_file(clip: Path) -> None:
    told = Told()
    with running(camera(clip), told):
        told.wait_for(lambda message: isinstance(message, CameraFinished))
    states = [status.state for status in told.of(CameraStatus)]
    assert states == ["connecting", "live"]
    assert len(told.of(WindowReady)) == 3
    assert told.messages[-1] == CameraFinished("cam", "eof")
    assert [ended.reason for ended in told.of(EpochEnded)] == ["eof"]


def test_a_stopped_camera_ends_its_epoch() -> None:
    told = Told()
    with RtspServer("camera", "--fps", "20", "--size", "160x120") as server, running(camera(server.url()), told):
        told.wait_for(lambda message: isinstance(message, WindowReady))
    assert [ended.reason for ended in told.of(EpochEnded)] == ["shutdown"]


def test_waiting_for_the_next_try_is_cut_short_by_a_stop() -> None:
    """A wrong password waits for a minute at least."""
    with RtspServer("camera", "--user", "me", "--password", "right") as server:
        told = Told()
        with running(camera(server.url(userinfo="me:wrong")), told) as made:
            told.wait_for(lambda message: isinstance(message, CameraStatus) and message.state == "lost")
            (lost,) = [status for status in told.of(CameraStatus) if status.state == "lost"]
            assert lost.error == ErrorClass.AUTH
            assert lost.next_try_s is not None
            assert lost.next_try_s >= 60
            made.stop("removed")
            made.join(2.0)
            assert made.ended
    assert told.messages[-1] == CameraFinished("cam", "removed")
    assert "wrong" not in repr(told.messages)


def test_a_camera_whose_time_stands_still_is_lost_though_frames_come() -> None:
    """An encoder that hangs and repeats what it has."""
    told = Told()
    with (
        RtspServer("camera", "--fps", "20", "--size", "160x120") as server,
        running(camera(server.url(), timeout_s=2), told),
    ):
        told.wait_for(lambda message: isinstance(message, WindowReady))
        server.say("repeat")
        told.wait_for(lambda message: isinstance(message, CameraStatus) and message.state == "reconnecting")
    lost = next(status for status in told.of(CameraStatus) if status.state == "lost")
    assert lost.error == ErrorClass.TIMEOUT
    assert "stood still for 2 s" in lost.text
    assert "camera_lost" in [ended.reason for ended in told.of(EpochEnded)]


def test_a_still_picture_is_no_fault() -> None:
    """An empty room at night: every picture is the same, but time goes on."""
    told = Told()
    with (
        RtspServer("camera", "--fps", "20", "--size", "160x120", "--pattern", "black") as server,
        running(camera(server.url(), timeout_s=1), told),
    ):
        told.wait_for(lambda _: len(told.of(WindowReady)) >= 6)
    assert [status.state for status in told.of(CameraStatus)] == ["connecting", "live"]


def test_reconnecting_leaks_no_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that is away for a month is tried 100,000 times."""
    monkeypatch.setattr(reconnect, "USUAL_PACE", reconnect.Pace(0.01, 0.02))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    told = Told()

    def tries() -> int:
        return sum(status.state == "lost" for status in told.of(CameraStatus))

    with running(camera(f"rtsp://127.0.0.1:{port}/x"), told):
        told.wait_for(lambda _: tries() >= 5)
        before, files = tries(), psutil.Process().num_fds()
        told.wait_for(lambda _: tries() >= before + 20)
        assert psutil.Process().num_fds() < files + 10


class FaultyTap(Tap):
    """Fails on every second picture."""

    def frame(self, frame: Frame) -> None:
        super().frame(frame)
        if self.counts.offered % 2 == 0:
            raise ZeroDivisionError


def test_a_mistake_of_ours_is_told_and_the_camera_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    with (
        RtspServer("camera", "--fps", "20", "--size", "160x120") as server,
        caplog.at_level(logging.ERROR),
        running(camera(server.url()), told, FaultyTap),
    ):
        for count in (1, 2):
            told.wait_for(
                lambda _, count=count: sum(status.state == "lost" for status in told.of(CameraStatus)) == count
            )
    lost = next(status for status in told.of(CameraStatus) if status.state == "lost")
    assert lost.error == ErrorClass.PROTOCOL
    assert "ZeroDivisionError" in lost.text
    assert "unexpected error" in caplog.text


class WronglyCutTap(FaultyTap):
    """Fails also when it is cut, which happens while another error is being dealt with."""

    def frame(self, frame: Frame) -> None:
        if self.counts.offered > 2:
            raise SourceError(ErrorClass.PROTOCOL, "enough")
        Tap.frame(self, frame)

    def cut(self, reason: EpochEnd) -> None:
        raise ZeroDivisionError


def test_a_mistake_in_ending_an_epoch_does_not_end_the_camera() -> None:
    told = Told()
    with (
        RtspServer("camera", "--fps", "20", "--size", "160x120") as server,
        running(camera(server.url()), told, WronglyCutTap),
    ):
        told.wait_for(lambda message: isinstance(message, CameraStatus) and message.state == "reconnecting")
    assert "camera_lost" in [ended.reason for ended in told.of(EpochEnded)]
    assert not told.of(CameraFinished)


def test_a_mistake_with_a_file_ends_it(clip: Path) -> None:
    told = Told()
    with running(camera(clip), told, WronglyCutTap):
        told.wait_for(lambda message: isinstance(message, CameraFinished))
    assert told.messages[-1] == CameraFinished("cam", "failed", "internal error (ZeroDivisionError)")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_camera_whose_thread_ends_without_a_word(clip: Path) -> None:
    told = Told()

    def broken(message: Message) -> None:
        if isinstance(message, CameraStatus) and message.state == "connecting":
            raise ZeroDivisionError
        told(message)

    made = Camera(camera(clip), broken, ReconnectBudget(1000))
    made.start([])
    made.join(10.0)
    assert made.ended
    assert not told.messages
    made.give_up()
    made.give_up()
    (finished,) = told.of(CameraFinished)
    assert (finished.reason, finished.text) == ("failed", "internal error: its thread has ended")


def test_a_new_connection_is_measured_anew() -> None:
    """A slow camera comes back: it is not `degraded: 0.0 fps` before it has been measured."""
    told = Told()

    def states() -> list[str]:
        return [status.state for status in told.of(CameraStatus)]

    with RtspServer("camera", "--fps", "4", "--size", "160x120") as first, running(camera(first.url()), told):
        told.wait_for(lambda _: "degraded" in states())
        first.close()
        told.wait_for(lambda _: "reconnecting" in states())
        with RtspServer("camera", "--fps", "20", "--size", "160x120", "--port", str(first.port)):
            told.wait_for(lambda _: states()[-1] in {"live", "degraded"})
            assert states()[-1] == "live"
    assert not [status for status in told.of(CameraStatus) if status.text.startswith("0.0 fps")]


def test_a_camera_that_repeats_itself_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "HEALTHY_S", 1.0)
    told = Told()
    with (
        RtspServer("camera", "--fps", "20", "--size", "160x120") as server,
        running(camera(server.url(), timeout_s=2), told) as made,
    ):
        told.wait_for(lambda message: isinstance(message, WindowReady))
        server.say("repeat")
        time.sleep(0.5)
        newest_s = made._backoff._last_frame_s
        decoded = made.counters().decoded
        time.sleep(0.5)
        assert made.counters().decoded > decoded
        assert made._backoff._last_frame_s == newest_s


def test_counters_are_those_of_the_time_between(clip: Path) -> None:
    told = Told()
    with running(camera(clip), told) as made:
        told.wait_for(lambda message: isinstance(message, CameraFinished))
        made.counters()
        started_s = time.monotonic()
        counters = made.counters()
        assert counters.fps == 0.0
        assert counters.decoded == 30
        assert time.monotonic() - started_s < 1.0


@pytest.mark.parametrize(
    ("zones", "size"),
    [
        ([Zone(0, 0, 1, 1)], (80, 60)),
        ([Zone(0, 0, 0.5, 1)], (160, 60)),
        ([Zone(0, 0, 1, 1), Zone(0, 0, 0.3, 0.25)], (268, 240)),
        ([Zone(0, 0, 100, 100, unit="pixel")], None),
    ],
)
def test_a_gpu_shrinks_only_as_far_as_every_zone_allows(zones: list[Zone], size: tuple[int, int] | None) -> None:
    assert enough([replace(ZONE, height=60, width=80, zone=zone) for zone in zones]) == size


def test_counters_tell_frames_that_were_not_read_in_time() -> None:
    class SlowTap(Tap):
        def frame(self, frame: Frame) -> None:
            time.sleep(0.2)
            super().frame(frame)

    told = Told()
    with (
        RtspServer("camera", "--fps", "20", "--size", "160x120") as server,
        running(camera(server.url()), told, SlowTap) as made,
    ):
        told.wait_for(lambda message: isinstance(message, WindowReady) and message.index == 2)
        counters = made.counters()
    assert counters.dropped["decoder_queue"] > counters.decoded  # it reads one of four
    assert counters.reconnects == 0


def test_counters_tell_reconnects_and_jitter() -> None:
    told = Told()
    with (
        RtspServer("camera", "--fps", "20", "--size", "160x120") as server,
        running(camera(server.url(), timeout_s=1.0), told) as made,
    ):
        told.wait_for(lambda message: isinstance(message, WindowReady))
        counters = made.counters()
        assert (counters.reconnects, counters.clock, counters.dropped["decoder_queue"]) == (0, "arrival", 0)
        assert 0.0 < counters.jitter_ms < 200.0
        server.say("freeze")
        told.wait_for(lambda message: isinstance(message, EpochEnded))
        server.say("thaw")
        told.wait_for(lambda message: isinstance(message, WindowReady) and message.epoch > 0)
        counters = made.counters()
    assert counters.reconnects == 1


@pytest.mark.parametrize(("values", "expected"), [([], 0.0), ([7], 0.0), ([1, 3], 1.0), ([0, 0, 0, 8], 3.0)])
def test_mean_deviation(values: list[int], expected: float) -> None:
    assert mean_deviation(values) == expected
