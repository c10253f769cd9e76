from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import gi
import numpy as np
import psutil
import pytest

from stream.demo.camera import DemoCamera, DemoCameraError
from stream.demo.player import Player
from stream.demo.schedule import Programme

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

NTP_TO_UNIX_NS = 2_208_988_800 * 1_000_000_000


@contextmanager
def watching(url: str) -> Iterator[Any]:
    """An appsink with the camera's decoded frames."""
    Gst.init(None)
    pipeline = Gst.parse_launch(
        f"rtspsrc location={url} latency=100 protocols=tcp add-reference-timestamp-meta=true ! rtph264depay ! "
        "h264parse ! avdec_h264 max-threads=1 ! appsink name=out sync=false"
    )
    try:
        pipeline.set_state(Gst.State.PLAYING)
        yield pipeline.get_by_name("out")
    finally:
        pipeline.set_state(Gst.State.NULL)


def pull(sink: Any) -> Any:
    sample = sink.emit("try-pull-sample", 10 * Gst.SECOND)
    assert sample is not None, "no frame came for 10 s"
    return sample


def luma(sample: Any) -> np.ndarray:
    buffer = sample.get_buffer()
    data = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8)
    return data[: 640 * 360].reshape(360, 640)


def utc_ns(sample: Any) -> int | None:
    meta = sample.get_buffer().get_reference_timestamp_meta(None)
    return meta.timestamp - NTP_TO_UNIX_NS if meta else None


def gone(pid: int, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > end:
            return False
        os.sched_yield()
    return True


def test_sends_h264_at_its_rate_and_what_it_says_it_shows() -> None:
    with DemoCamera(seed=1) as camera, watching(camera.url) as sink:
        samples = [pull(sink) for _ in range(60)]
        truth = camera.truth(camera.start_utc_ns, time.time_ns())
        start = camera.start_utc_ns
    caps = samples[-1].get_caps().to_string()
    assert "width=(int)640, height=(int)360" in caps
    times = np.array([s.get_buffer().pts for s in samples]) / 1e9
    assert (times[-1] - times[20]) / 39 == pytest.approx(1 / 15, rel=0.05)

    assert truth[0].start_utc_ns == start
    stamped = [s for s in samples if utc_ns(s) is not None]
    assert stamped, "no RTCP sender report came in four seconds"
    shown_s = (utc_ns(stamped[-1]) - start) / 1e9
    player = Player(Programme(1), 640, 360)
    try:
        # The frame stamped t is the programme's frame of t, not one of the frames beside it.
        frame = round(shown_s * 15)
        assert shown_s == pytest.approx(frame / 15, abs=0.03)
        scores = {
            n: np.abs(
                cv2.cvtColor(player.frame((frame + n) / 15), cv2.COLOR_RGB2YUV_I420)[:360].astype(int)
                - luma(stamped[-1])
            ).mean()
            for n in (0, 8)
        }
    finally:
        player.close()
    assert scores[0] < 4
    assert scores[0] < scores[8]


def test_serves_several_viewers_and_comes_back_for_the_next() -> None:
    with DemoCamera(seed=2) as camera:
        with watching(camera.url) as one, watching(camera.url) as two:
            assert pull(one).get_caps() is not None
            assert pull(two).get_caps() is not None
        with watching(camera.url) as again:
            for _ in range(5):
                pull(again)


def test_ends_with_its_context_and_is_then_not_running() -> None:
    with DemoCamera() as camera:
        pid = camera.pid
        process = camera._server.process
        assert process is not None
        assert psutil.pid_exists(pid)
        assert camera.url.startswith("rtsp://127.0.0.1:")
    assert process.returncode == 0  # it ended by itself; nobody had to kill it
    assert not psutil.pid_exists(pid)
    with pytest.raises(DemoCameraError, match="not running"):
        _ = camera.url
    camera.stop()


def test_ends_when_its_parent_is_killed() -> None:
    program = (
        "from stream.demo.camera import DemoCamera\n"
        "import sys\n"
        "with DemoCamera() as camera:\n"
        "    print(camera.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        assert gone(pid, within_s=10)


def test_ends_when_somebody_watches() -> None:
    camera = DemoCamera()
    camera.start()
    pid = camera.pid
    with watching(camera.url) as sink:
        pull(sink)
        camera.stop()
    assert not psutil.pid_exists(pid)


def test_says_that_a_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DemoCameraError, match=f"cannot listen on 127.0.0.1:{port}"), DemoCamera(port=port):
            pass


def test_refuses_sizes_it_cannot_send() -> None:
    with pytest.raises(ValueError, match="multiple of 8 wide"):
        DemoCamera(width=642)


def test_an_address_names_its_programme() -> None:
    assert DemoCamera.at("").programme.seed == 0
    assert DemoCamera.at("12", caption=True).programme.seed == 12
    with pytest.raises(ValueError, match="not by 'front'"):
        DemoCamera.at("front")
