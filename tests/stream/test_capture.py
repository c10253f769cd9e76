"""CapturePool with real worker processes, real files and real RTSP: what comes out, and that nothing stays behind."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine.spec import ModelSpec
from stream import capture, process, shard
from stream.capture import CapturePool, zone_task
from stream.failure import ErrorClass
from stream.frame import StreamKey
from stream.messages import (
    CameraCounters,
    CameraFinished,
    CameraStatus,
    EpochEnded,
    Message,
    WindowReady,
    WorkerAlive,
    WorkerLost,
)
from stream.zone import Zone
from tests.capture_watch import ZONE, CaptureWatch, camera, workers_of
from tests.rtsp_server import RtspServer
from tests.video_file import steady, write_video

TICK_NS = 100_000_000


def shared_memory() -> set[str]:
    """Named shared memory of this program or of Python's own making; other programs have theirs there too."""
    if not Path("/dev/shm").is_dir():
        return set()
    return {name for name in os.listdir("/dev/shm") if name.startswith(("swinstream", "psm_", "pym-"))}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No process, no name in shared memory, no open file."""
    segments, files = shared_memory(), psutil.Process().num_fds()
    yield
    assert workers_of(os.getpid()) == []
    assert shared_memory() <= segments
    gc.collect()
    assert psutil.Process().num_fds() <= files


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    with RtspServer("camera", "--fps", "20", "--size", "160x120") as running:
        yield running


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds at 15 fps: ten windows of ZONE."""
    return write_video(tmp_path_factory.mktemp("clips") / "steady.mp4", steady(6, 15))


def gone(processes: list[psutil.Process], within_s: float) -> bool:
    return not psutil.wait_procs(processes, timeout=within_s)[1]


# ---- files


def test_a_file_comes_through_whole_and_ends(clip: Path) -> None:
    with CaptureWatch() as watch:
        watch.pool.start([camera(clip)])
        assert watch.until(CameraFinished).reason == "eof"
        assert watch.pool.cameras() == set()
    assert [(window.epoch, window.index) for window in watch.windows] == [(0, n) for n in range(10)]
    times_ns = np.concatenate([window.pts_ns for window in watch.windows])
    assert len(times_ns) == 60
    assert (np.abs(times_ns - np.arange(60) * TICK_NS) <= TICK_NS // 2).all()
    assert {window.pictures.shape for window in watch.windows} == {(6, 48, 32)}
    # The square that walks makes every picture another one.
    luma = np.concatenate([window.pictures[:, :32] for window in watch.windows])
    assert all((before != after).any() for before, after in pairwise(luma))
    (ended,) = watch.of(EpochEnded)
    assert (ended.stream, ended.epoch, ended.reason) == (StreamKey("cam", "full"), 0, "eof")
    last = watch.of(CameraCounters)[-1]
    assert (last.decoded, last.sampled, last.windows, last.dropped) == (90, 60, 10, {"not_sampled": 30})


def test_windows_can_still_be_fetched_after_the_end(clip: Path) -> None:
    with CaptureWatch(fetch=False) as watch:
        watch.pool.start([camera(clip)])
        ready: list[WindowReady] = []
        while not watch.of(CameraFinished):
            ready += [message for message in watch.turn() if isinstance(message, WindowReady)]
            if len(ready) > 3:
                assert watch.pool.window(ready.pop(0)) is not None
        assert ready
        assert all(watch.pool.window(message) is not None for message in ready)


def test_a_file_waits_for_a_slow_reader(clip: Path) -> None:
    """The worker fills the ring, and not one window more until one is fetched or skipped."""
    with CaptureWatch(fetch=False) as watch:
        watch.pool.start([camera(clip)])
        watch.until(WindowReady)
        for _ in range(2):
            watch.until(CameraCounters)
        stalled = watch.of(WindowReady)
        assert len(stalled) == capture.RING_WINDOWS
        assert watch.pool.window(stalled[0]) is not None
        watch.until(WindowReady)
        watch.pool.skip(stalled[1])
        watch.until(WindowReady)
        assert watch.pool.window(stalled[2]) is not None
        watch.fetch = True
        watch.pool.skip(stalled[-1])
        watch.pool.skip(watch.of(WindowReady)[-1])
        assert watch.until(CameraFinished).reason == "eof"
        assert len(watch.of(WindowReady)) == 10


def test_zones_are_streams_of_their_own(clip: Path) -> None:
    """Two zones of one camera with models of different rate and size; the picture is decoded once."""
    small = dataclasses.replace(ZONE, name="left", ticks=4, rate_hz=5.0, height=16, width=24, zone=Zone(0, 0, 0.5, 1))
    with CaptureWatch() as watch:
        watch.pool.start([camera(clip, "cam", ZONE, small)])
        watch.until(CameraFinished)
    by_zone = {zone: [w for w in watch.windows if w.stream.zone == zone] for zone in ("full", "left")}
    assert [window.index for window in by_zone["full"]] == list(range(10))
    assert [window.index for window in by_zone["left"]] == list(range(8))  # the last, of 2 ticks, is completed
    assert {window.pictures.shape for window in by_zone["left"]} == {(4, 24, 24)}
    assert watch.of(CameraCounters)[-1].decoded == 90
    assert {ended.stream.zone for ended in watch.of(EpochEnded)} == {"full", "left"}


def test_many_cameras_share_workers(clip: Path) -> None:
    with CaptureWatch(workers=2) as watch:
        watch.pool.start([camera(clip, f"cam-{n}") for n in range(5)])
        assert len(workers_of(os.getpid())) == 2
        while len(watch.of(CameraFinished)) < 5:
            watch.turn()
    counts = [sum(window.stream.camera == f"cam-{n}" for window in watch.windows) for n in range(5)]
    assert counts == [10] * 5


def test_time_that_jumps_forward_begins_a_new_epoch(tmp_path: Path) -> None:
    path = write_video(tmp_path / "jump.mkv", steady(1.4, 15) + steady(1.2, 15, start_s=30.0))
    with CaptureWatch() as watch:
        watch.pool.start([camera(path)])
        watch.until(CameraFinished)
    assert [(w.epoch, w.index) for w in watch.windows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [(e.epoch, e.reason) for e in watch.of(EpochEnded)] == [(0, "gap"), (1, "eof")]


def test_time_that_jumps_backward_begins_a_new_epoch(tmp_path: Path) -> None:
    path = write_video(tmp_path / "back.mkv", steady(1.2, 15, start_s=20.0) + steady(1.2, 15, start_s=5.0))
    with CaptureWatch() as watch:
        watch.pool.start([camera(path)])
        watch.until(CameraFinished)
    assert [(e.epoch, e.reason) for e in watch.of(EpochEnded)] == [(0, "gap"), (1, "eof")]
    assert [(w.epoch, w.index) for w in watch.windows] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_resolution_that_changes_midway_begins_a_new_epoch(tmp_path: Path) -> None:
    path = write_video(tmp_path / "size.ts", steady(1.2, 15) + steady(1.2, 15, start_s=1.2, size=(320, 240)))
    with CaptureWatch() as watch:
        watch.pool.start([camera(path)])
        watch.until(CameraFinished)
    assert [(e.epoch, e.reason) for e in watch.of(EpochEnded)] == [(0, "reconfigured"), (1, "eof")]
    assert [(w.epoch, w.index) for w in watch.windows] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_slow_camera_is_degraded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "slow.mkv", steady(6, 6))
    with CaptureWatch() as watch:
        watch.pool.start([camera(path)])
        watch.until(CameraFinished)
    states = [status.state for status in watch.of(CameraStatus)]
    assert states == ["connecting", "live", "degraded"]
    assert "6.0 fps" in watch.of(CameraStatus)[-1].text


@pytest.mark.parametrize("content", [None, b"", b"no video at all" * 100])
def test_a_file_that_cannot_be_read_fails_for_good(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    with CaptureWatch() as watch:
        watch.pool.start([camera(path)])
        assert watch.until(CameraFinished).reason == "failed"
    status = watch.of(CameraStatus)[-1]
    assert status.state == "failed"
    assert status.error is not None
    assert status.text
    assert "\n" not in status.text
    assert not watch.of(EpochEnded)


def test_a_zone_outside_the_picture_fails_for_good(clip: Path) -> None:
    zone = dataclasses.replace(ZONE, zone=Zone(100, 0, 100, 100, unit="pixel"))
    with CaptureWatch() as watch:
        watch.pool.start([camera(clip, "cam", zone)])
        finished = watch.until(CameraFinished)
    assert finished.reason == "failed"
    assert "160x120" in finished.text


# ---- RTSP


def test_a_live_camera(server: RtspServer) -> None:
    spec = ModelSpec(
        name="m", version="1", labels=("walk", "none"), modality="rgb+flow", ticks=6, rate_hz=10, height=40, width=48
    )
    with CaptureWatch() as watch:
        watch.pool.start([camera(server.url(), "cam", zone_task("full", spec))])
        watch.until(WindowReady, lambda ready: ready.index == 2)
        before_ns = time.monotonic_ns()
        watch.until(WindowReady)
        window = watch.windows[-1]
        assert before_ns - 10**9 < window.arrival_ns <= time.monotonic_ns()
        assert abs(window.utc_offset_ns + int(window.pts_ns[-1]) - time.time_ns()) < 2 * 10**9
        assert window.pictures.shape == (6, 60, 48)
        counters = watch.until(CameraCounters, lambda counters: counters.decoded > 30)
        assert 10 < counters.fps < 30
    assert [status.state for status in watch.of(CameraStatus)] == ["connecting", "live"]


def test_a_live_camera_does_not_wait_for_the_core(server: RtspServer) -> None:
    """Nothing is fetched: the oldest windows are overwritten, and the newest is there."""
    with CaptureWatch(fetch=False) as watch:
        watch.pool.start([camera(server.url())])
        newest = watch.until(WindowReady, lambda ready: ready.index == capture.RING_WINDOWS + 1)
        assert watch.pool.window(watch.of(WindowReady)[0]) is None
        assert watch.pool.window(newest) is not None


def test_a_server_that_dies_and_returns() -> None:
    with RtspServer("camera", "--fps", "20", "--size", "160x120") as first, CaptureWatch() as watch:
        watch.pool.start([camera(first.url(), timeout_s=3.0)])
        watch.until(WindowReady)
        first.close()
        ended = watch.until(EpochEnded)
        assert ended.reason == "camera_lost"
        lost = watch.until_state("lost")
        assert lost.error in {ErrorClass.EOF, ErrorClass.TIMEOUT, ErrorClass.PROTOCOL, ErrorClass.REFUSED}
        assert lost.next_try_s is not None
        watch.until_state("lost")  # a try failed
        with RtspServer("camera", "--fps", "20", "--size", "160x120", "--port", str(first.port)):
            watch.until_state("live")
            assert watch.until(WindowReady).epoch == ended.epoch + 1
    assert "reconnecting" in {status.state for status in watch.of(CameraStatus)}


def test_a_camera_that_freezes_and_thaws() -> None:
    with RtspServer("camera", "--fps", "20", "--size", "160x120") as server, CaptureWatch() as watch:
        watch.pool.start([camera(server.url(), timeout_s=1.5)])
        watch.until(WindowReady)
        server.say("freeze")
        ended = watch.until(EpochEnded)
        assert ended.reason == "camera_lost"
        assert watch.until_state("lost").error == ErrorClass.TIMEOUT
        server.say("thaw")
        watch.until_state("live")
        assert watch.until(WindowReady).epoch > ended.epoch


def test_a_port_where_nobody_listens_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with CaptureWatch() as watch:
        watch.pool.start([camera(f"rtsp://user:secret@127.0.0.1:{port}/x")])
        first = watch.until_state("lost")
        assert first.error == ErrorClass.REFUSED
        assert first.next_try_s is not None
        watch.until_state("reconnecting")
        watch.until_state("lost")
    assert "secret" not in repr(watch.messages)
    assert not watch.of(CameraFinished)


def test_removing_and_adding_cameras_while_others_run(server: RtspServer) -> None:
    with CaptureWatch() as watch:
        watch.pool.start([camera(server.url(), "one"), camera(server.url(), "two")])
        watch.until(WindowReady, lambda ready: ready.stream.camera == "two")
        watch.pool.remove("two")
        assert watch.pool.cameras() == {"one"}
        assert watch.until(EpochEnded).reason == "removed"
        assert watch.until(CameraFinished) == CameraFinished("two", "removed")
        watch.pool.start([camera(server.url(), "two")])
        epoch = watch.until(WindowReady, lambda ready: ready.stream.camera == "two").epoch
        assert epoch > 0
        watch.until(WindowReady, lambda ready: ready.stream.camera == "one")
    # A busy machine may lose pictures of the other camera; it must not be ended for any other reason.
    assert {ended.reason for ended in watch.of(EpochEnded) if ended.stream.camera == "one"} <= {"gap"}


def test_two_cameras_of_one_name_are_refused(clip: Path) -> None:
    with CapturePool() as pool:
        with pytest.raises(ValueError, match="named cam"):
            pool.start([camera(clip), camera(clip)])
        assert pool.cameras() == set()


# ---- workers that die


STUCK_MAIN_THREAD = """# as stream.worker
import os, sys; sys.path.append(sys.argv[1])
from stream import worker
obey = worker.Worker._obey
def stuck(self):
    if os.path.exists({file!r}):
        os.unlink({file!r})
        os.read(os.pipe()[0], 1)  # for ever; the cameras' threads go on
    return obey(self)
worker.Worker._obey = stuck
worker.main(*map(int, sys.argv[2:]))
"""


@pytest.mark.parametrize("how", ["killed", "stopped", "main thread"])
def test_a_worker_of_no_use_is_replaced_within_five_seconds(
    server: RtspServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], how: str
) -> None:
    """And its cameras give pictures again."""
    file = tmp_path / "stuck"
    if how == "main thread":
        monkeypatch.setattr(process, "_PROGRAM", STUCK_MAIN_THREAD.format(file=str(file)))
    with CaptureWatch() as watch:
        watch.pool.start([camera(server.url(), "one"), camera(server.url(), "two")])
        while {window.stream.camera for window in watch.windows} != {"one", "two"}:
            watch.turn()
        old = watch.worker()
        begun_s = time.monotonic()
        match how:
            case "killed":
                old.kill()
            case "stopped":
                old.suspend()
            case _:
                file.touch()
                watch.pool.remove("nobody")
                watch.pool.start([camera(server.url(), "three")])  # it wakes up to this
        lost = watch.until(WorkerLost)
        assert ("signal 9" if how == "killed" else "silent") in lost.text
        assert lost.restart_s == 0.0
        ended = {e.stream.camera: e for e in watch.of(EpochEnded) if e.stream.camera != "three"}
        assert {(name, e.reason) for name, e in ended.items()} == {("one", "worker_lost"), ("two", "worker_lost")}
        last = [ready for ready in watch.of(WindowReady) if ready.stream.camera == "one"][-1]
        assert watch.pool.window(last) is None
        assert watch.until_state("lost").error == ErrorClass.PROTOCOL
        assert watch.until(WindowReady, lambda ready: ready.stream.camera == "one").epoch > last.epoch
        assert time.monotonic() - begun_s < 5.0
        watch.until_gone(old)
        assert watch.worker().pid != old.pid
        (info,) = watch.pool.workers()
        assert (info.pid, info.restarts) == (watch.worker().pid, 1)
    if how == "main thread":
        assert "in stuck" in capfd.readouterr().err  # it said where it was


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="this system cannot starve a process")
def test_a_worker_that_is_starved_is_left_alone(server: RtspServer) -> None:
    """It shares a processor with one that is always preferred, and is silent for seconds."""
    with CaptureWatch() as watch:
        watch.pool.start([camera(server.url())])
        watch.until(WindowReady)
        worker = watch.worker()
        one = {min(os.sched_getaffinity(0))}
        for thread in worker.threads():
            os.sched_setaffinity(thread.id, one)
            os.sched_setscheduler(thread.id, os.SCHED_IDLE, os.sched_param(0))
        hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
        try:
            for hog in hogs:
                os.sched_setaffinity(hog.pid, one)
            deadline_s = time.monotonic() + 4.0
            while time.monotonic() < deadline_s:
                watch.turn()
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        assert not watch.of(WorkerLost)
        watch.until(WindowReady)
        assert watch.worker() == worker


def test_replaced_workers_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill after kill: no open file, no mapped ring, no thread and no process more than before."""
    monkeypatch.setattr(shard, "HEALTHY_S", 0.0)  # so that none has to wait
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    kills = int(os.environ.get("SWINSTREAM_KILLS", "4"))
    with CaptureWatch() as watch:
        watch.pool.start([camera(f"rtsp://127.0.0.1:{port}/x", f"cam-{n}") for n in range(3)])
        counts = []
        for _ in range(kills):
            watch.until(WorkerAlive)
            watch.worker().kill()
            watch.until(WorkerLost)
            gc.collect()
            counts.append(own_resources())
        assert watch.pool.workers()[0].restarts == kills
    assert counts[-1] == counts[1], counts


def own_resources() -> dict[str, int]:
    this = psutil.Process()
    rings = Path("/proc/self/maps").read_text().count("swinstream-ring") if Path("/proc/self/maps").exists() else 0
    return {"files": this.num_fds(), "rings": rings, "threads": this.num_threads(), "processes": len(this.children())}


@pytest.mark.parametrize("reason", ["eof", "removed"])
def test_a_camera_that_has_finished_is_forgotten(clip: Path, server: RtspServer, reason: str) -> None:
    """Reload after reload: nothing is kept of cameras that were there once."""
    with CaptureWatch() as watch:
        watch.pool.start([camera(server.url(), "stays")])
        watch.until(WindowReady)
        kept = []
        for n in range(3):
            watch.pool.start([camera(clip if reason == "eof" else server.url(), f"goes-{n}")])
            watch.until(WindowReady, lambda ready, name=f"goes-{n}": ready.stream.camera == name)  # type: ignore[misc]
            if reason == "removed":
                watch.pool.remove(f"goes-{n}")
            assert watch.until(CameraFinished).reason == reason
            gc.collect()
            before = own_resources()["rings"]
            watch.pool.forget(f"goes-{n}")
            gc.collect()
            assert own_resources()["rings"] < before or not before
            (place,) = watch.pool._shards
            assert place.worker is not None
            kept.append((len(watch.pool._readers), len(watch.pool._epochs), len(place.worker.blocks)))
        assert set(kept) == {(1, 1, 1)}
        watch.until(WindowReady)  # of the one that stays


def test_a_camera_that_ends_by_itself_as_it_is_removed(server: RtspServer, tmp_path: Path) -> None:
    """Its worker's death, long after, must not end another one of the same name."""
    short = write_video(tmp_path / "short.mp4", steady(1, 15))
    with CaptureWatch() as watch:
        watch.pool.start([camera(server.url(), "stays")])
        watch.until(WindowReady)
        watch.pool.start([camera(short)])
        time.sleep(2.0)  # it has ended, which nobody has heard yet
        watch.pool.remove("cam")
        assert watch.until(CameraFinished).camera == "cam"
        watch.pool.forget("cam")
        watch.pool.start([camera(server.url(), "cam")])
        watch.until(WindowReady, lambda ready: ready.stream.camera == "cam")
        watch.worker().kill()
        watch.until(WorkerLost)
        assert len(watch.of(CameraFinished)) == 1


def test_a_crash_loop_backs_off(monkeypatch: pytest.MonkeyPatch, server: RtspServer) -> None:
    monkeypatch.setattr(process, "_PROGRAM", "raise SystemExit(3)")
    with CaptureWatch() as watch:
        watch.pool.start([camera(server.url())])
        waits = [watch.until(WorkerLost).restart_s for _ in range(3)]
        assert "exit code 3" in watch.of(WorkerLost)[0].text
    assert waits[0] == 0.0
    assert all(0.5 <= wait <= 4.5 for wait in waits[1:])


def test_a_file_is_not_begun_again_when_its_worker_dies(clip: Path) -> None:
    with CaptureWatch(fetch=False) as watch:
        watch.pool.start([camera(clip)])
        watch.until(WindowReady)
        watch.worker().kill()
        assert watch.until(CameraFinished).reason == "failed"
        assert [ended.reason for ended in watch.of(EpochEnded)] == ["worker_lost"]
        assert watch.pool.cameras() == set()
        assert watch.pool.connections() == []


def test_a_worker_leaves_signals_to_the_core(server: RtspServer) -> None:
    with CaptureWatch() as watch:
        watch.pool.start([camera(server.url())])
        watch.until(WindowReady)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            watch.worker().send_signal(number)
        watch.until(WindowReady)
        watch.until(WindowReady)
        assert not watch.of(WorkerLost)


# ---- stopping


@pytest.mark.parametrize("messages", [0, 1, 4])
def test_stopping_at_any_moment(server: RtspServer, clip: Path, messages: int) -> None:
    with CaptureWatch(workers=2) as watch:
        watch.pool.start([camera(server.url(), "live"), camera(clip, "file")])
        processes = workers_of(os.getpid())
        while len(watch.messages) < messages:
            watch.turn()
        started_s = time.monotonic()
        watch.pool.stop()
        assert time.monotonic() - started_s < 6.0  # its own timeout and a moment
        assert gone(processes, 0.0)
        watch.pool.stop()


def test_stopping_a_camera_that_answers_nothing() -> None:
    """The server accepts, and then says nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener, CaptureWatch() as watch:
        watch.pool.start([camera(f"rtsp://127.0.0.1:{listener.getsockname()[1]}/x")])
        watch.until_state("connecting")
        watch.until(WorkerAlive)
        started_s = time.monotonic()
        watch.pool.stop()
        assert time.monotonic() - started_s < 6.0


def test_stopping_a_suspended_worker(server: RtspServer) -> None:
    with CaptureWatch() as watch:
        watch.pool.start([camera(server.url())])
        watch.until(WindowReady)
        process = watch.worker()
        process.suspend()
        watch.pool.stop(timeout_s=1.0)
        assert gone([process], 0.0)


# ---- a core that dies

CORE = """
import select, signal, sys
from stream.capture import CapturePool
from stream.messages import WindowReady
from tests.capture_watch import camera
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with Ctrl-C ignored
pool = CapturePool(2)
pool.start([camera(uri, f"cam-{n}") for n, uri in enumerate(sys.argv[2:])])
def capture():
    windows = 0
    while True:
        select.select(pool.connections(), [], [], 0.5)
        for message in pool.receive():
            if isinstance(message, WindowReady):
                windows += 1
                if windows == 2:
                    print("running", flush=True)
                    if sys.argv[1] == "raise":
                        raise SystemExit("gave up")
if sys.argv[1] == "with":
    with pool:
        capture()
else:
    capture()
"""


@pytest.mark.parametrize(
    ("style", "number"),
    [
        ("bare", signal.SIGKILL),
        ("bare", signal.SIGTERM),
        ("bare", signal.SIGINT),
        ("with", signal.SIGINT),
        ("raise", None),
    ],
)
def test_nothing_outlives_the_core(server: RtspServer, clip: Path, style: str, number: signal.Signals | None) -> None:
    segments = shared_memory()
    root = str(Path(__file__).parents[2])
    core = subprocess.Popen(
        [sys.executable, "-c", CORE, style, server.url(), str(clip)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert core.stdout is not None
        assert core.stdout.readline() == b"running\n"
        workers = workers_of(core.pid) if style != "raise" else []
        if number is not None:
            assert len(workers) == 2
            # As the terminal does with Ctrl-C: to the whole group. kill -9 is for the core alone.
            core.kill() if number == signal.SIGKILL else os.killpg(core.pid, number)
        core.wait(10)
        assert gone(workers, 5.0)
        assert _group_is_empty(core.pid, within_s=5.0)
        assert shared_memory() <= segments
    finally:
        core.kill()
        core.communicate()


def _group_is_empty(group: int, within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


# ---- order


def test_windows_of_an_epoch_come_before_its_end(tmp_path: Path) -> None:
    pictures = [p for n in range(8) for p in steady(1.3, 15, start_s=10.0 * n)]
    with CaptureWatch() as watch:
        watch.pool.start([camera(write_video(tmp_path / "gaps.mkv", pictures))])
        watch.until(CameraFinished)
    story: list[Message] = [m for m in watch.messages if isinstance(m, WindowReady | EpochEnded)]
    epochs = [m.epoch for m in story if isinstance(m, WindowReady | EpochEnded)]
    assert epochs == sorted(epochs)
    assert epochs == [epoch for epoch in range(8) for _ in range(3)]  # two windows and an end
