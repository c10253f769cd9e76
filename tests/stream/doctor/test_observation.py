from __future__ import annotations

import threading
from pathlib import Path

import pytest

from stream.doctor.observation import Observation, observe
from stream.failure import SourceError
from stream.frame import ClockSource
from stream.receiver import SourceOptions
from stream.uri import CameraUri
from tests.rtsp_server import RtspServer
from tests.video import flat, write_video


def watch(uri: str, seconds: float, stop: threading.Event | None = None) -> tuple[Observation, list[float]]:
    """And the progress that was told."""
    told: list[float] = []
    seen = observe(CameraUri.parse(uri), SourceOptions(), seconds, stop or threading.Event(), told.append)
    return seen, told


def test_a_slow_camera_that_films_nothing() -> None:
    """Its sender reports come after 1 to 3 s."""
    with RtspServer("camera", "--fps", "8", "--pattern", "white", "--size", "160x120") as camera:
        seen, told = watch(camera.url(), 3.6)
    assert (seen.codec, seen.profile, seen.width, seen.height) == ("H.264", "constrained-baseline", 160, 120)
    assert seen.fps == pytest.approx(8, rel=0.1)
    assert (seen.fps_declared, seen.b_frames, seen.packets_lost) == (8.0, False, 0)
    assert seen.keyframe_interval_s == pytest.approx(1.0, rel=0.1)
    assert (seen.sender_reports, seen.clock) == (True, ClockSource.RTCP)
    assert seen.clock_offset_s == pytest.approx(0, abs=0.5)
    assert seen.jitter_ms is not None
    assert 0 < seen.jitter_ms < 60
    assert seen.drift_ppm is not None
    assert seen.drift_error_ppm is not None
    assert abs(seen.drift_ppm) < 3 * seen.drift_error_ppm
    assert seen.bit_rate_kbps is not None
    assert 0.5 < seen.bit_rate_kbps < 100
    assert seen.change < 0.05
    assert 3.6 <= seen.watched_s < 4.5
    assert told == sorted(told)
    assert told[-1] == pytest.approx(seen.watched_s, abs=0.1)


def test_a_file_is_read_and_not_timed(tmp_path: Path) -> None:
    pictures = (flat(320, 240, 30 + n) for n in range(100))
    path = write_video(tmp_path / "film.mp4", pictures, 320, 240, codec="h264-b")
    seen, _ = watch(str(path), 2.0)
    assert seen.watched_s == pytest.approx(2.0, abs=0.1)
    assert seen.fps == pytest.approx(25, rel=0.01)
    assert seen.b_frames
    assert seen.keyframe_interval_s == pytest.approx(1.0, abs=0.01)
    assert (seen.jitter_ms, seen.drift_ppm, seen.sender_reports, seen.packets_lost) == (None, None, False, None)
    assert seen.change > 30
    whole, _ = watch(str(path), 60.0)
    assert whole.pictures == 100


def test_what_is_stopped_early_tells_what_it_saw() -> None:
    with RtspServer("camera", "--codec", "mjpeg", "--size", "160x120") as camera:
        stop = threading.Event()
        threading.Timer(0.8, stop.set).start()
        seen, _ = watch(camera.url(), 60.0, stop)
        assert seen.codec == "MJPEG"
        assert seen.keyframes >= seen.pictures > 5
        assert seen.watched_s < 5
        with pytest.raises(SourceError, match="stopped before a picture came"):
            watch(camera.url(), 60.0, stop)
