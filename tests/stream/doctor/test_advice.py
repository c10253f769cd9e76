from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stream.doctor.advice import Demand, advice, failure_advice
from stream.doctor.observation import Observation
from stream.failure import ErrorClass, SourceError
from stream.frame import ClockSource
from stream.uri import CameraUri

DEMAND = Demand("movements", 12.0, 96, 64)
GOOD = Observation(
    watched_s=10.0,
    first_picture_s=0.2,
    pictures=150,
    codec="H.264",
    profile="baseline",
    level="3",
    width=640,
    height=360,
    fps=15.0,
    fps_declared=15.0,
    keyframes=6,
    keyframe_interval_s=2.0,
    b_frames=False,
    interlaced=False,
    bit_rate_kbps=900.0,
    clock=ClockSource.RTCP,
    sender_reports=True,
    clock_offset_s=-0.05,
    packets_lost=0,
    jitter_ms=4.0,
    drift_ppm=30.0,
    drift_error_ppm=200.0,
    longest_gap_s=0.1,
    change=8.0,
    core_ms_per_s=20.0,
)


def test_nothing_is_said_of_a_camera_that_is_as_it_should_be() -> None:
    assert list(advice(GOOD, DEMAND, live=True)) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"fps": 8.0}, "it delivers 8 fps: model 'movements' needs 12"),
        ({"fps": 13.0}, "it says 15 fps and delivers 13"),
        ({"fps": None}, "only one picture came"),
        ({"longest_gap_s": 2.5}, "no picture for 2.5 s"),
        ({"keyframe_interval_s": 10.0}, "key frame interval 10 s: after a reconnect it takes so long"),
        ({"keyframe_interval_s": None, "keyframes": 1}, "fewer than two key frames in 10 s"),
        ({"b_frames": True}, "B-frames"),
        ({"packets_lost": 7}, "7 packets were lost"),
        ({"jitter_ms": 150.0}, "jitter 150 ms"),
        ({"clock": ClockSource.ARRIVAL, "clock_offset_s": None}, "its sender reports carry no time of day"),
        ({"clock_offset_s": -3600.0}, "its clock is 3,600 s behind this machine's"),
        ({"drift_ppm": -20_000.0}, "its time stamps run 2.0 % slow"),
        ({"width": 64, "height": 48}, "64x48 is smaller than what model 'movements' sees (96x64)"),
        ({"width": 3840, "height": 2160}, "take the camera's second stream"),
        ({"interlaced": True}, "set the camera to progressive"),
        ({"change": 0.0}, "the picture does not change at all"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_each_fault_is_told_once(changed: dict[str, Any], told: str) -> None:
    (text,) = advice(replace(GOOD, **changed), DEMAND, live=True)
    assert told in text


def test_a_short_watch_is_not_taken_for_a_long_interval() -> None:
    short = replace(GOOD, watched_s=2.0, keyframes=1, keyframe_interval_s=None)
    assert list(advice(short, DEMAND, live=True)) == []


def test_a_file_is_never_reconnected_to() -> None:
    film = replace(GOOD, keyframe_interval_s=10.0, b_frames=True)
    assert list(advice(film, DEMAND, live=False)) == []


@pytest.mark.parametrize(
    ("uri", "error_class", "text", "told"),
    [
        ("rtsp://u:p@h/x", ErrorClass.AUTH, "refused (401)", "look at the user name and password"),
        ("rtsp://h/x", ErrorClass.AUTH, "refused (401)", "it wants a user name and password"),
        ("rtsp://h/x", ErrorClass.NOT_FOUND, "no host of this name is known (h)", "mistake in the host's name"),
        ("rtsp://h/x", ErrorClass.NOT_FOUND, "no stream of this name (404)", "look up the path of the stream"),
        ("/x.mp4", ErrorClass.NOT_FOUND, "No such file", "mistake in the path"),
        ("rtsp://h/x", ErrorClass.REFUSED, "nothing listens on port 554 there", "RTSP must be turned on"),
        ("rtsp://h/x", ErrorClass.CODEC, "no decoder for H265 is installed", "apt install gstreamer1.0-libav"),
        ("rtsp://h/x", ErrorClass.CODEC, "no decoder for X-NEW is installed", "set the camera to H.264"),
        ("rtsps://h/x", ErrorClass.TLS, "unknown-ca", "in `tls_ca`"),
        ("rtsp://h/x", ErrorClass.PROTOCOL, "refuses this transport (461)", "try --transport udp or auto"),
        ("rtsp://h/x", ErrorClass.EOF, "the camera ended the stream", "too many clients"),
    ],
)
def test_what_to_do_without_a_picture(uri: str, error_class: ErrorClass, text: str, told: str) -> None:
    camera = CameraUri.parse(uri)
    assert told in failure_advice(SourceError(error_class, f"{camera}: {text}"), camera)
