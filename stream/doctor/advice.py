"""What is wrong with a camera, and what to set: in words, from what was observed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from stream.doctor.elements import codec_advice
from stream.doctor.observation import Observation
from stream.failure import ErrorClass, SourceError
from stream.frame import ClockSource
from stream.uri import CameraUri

SLOW = 0.97  # of the rate: a camera's 12 fps may be 11.9
LONG_KEYFRAME_INTERVAL_S = 4.0
JITTER_MS = 100.0
CLOCK_OFF_S = 5.0
DRIFT_PPM = 2000.0  # twenty times a bad crystal
STILL = 0.05  # grey levels; noise alone is more
LARGE = 1920 * 1080
_HOST = "see whether the camera is on and the address is right: ping it, or open its web page"
_NO_DECODER = re.compile(r"no decoder for ([\w.-]+) is installed")


class Demand(NamedTuple):
    """What the models that watch the camera want: the highest rate, the largest picture, and whose they are."""

    model: str
    rate_hz: float
    width: int
    height: int


def advice(seen: Observation, demand: Demand, *, live: bool) -> Iterator[str]:
    """A sentence for each thing that should be changed; none for a camera that is as it should be."""
    yield from _rate(seen, demand)
    if live:
        yield from _stream(seen)
    if seen.width < demand.width or seen.height < demand.height:
        yield (
            f"{seen.width}x{seen.height} is smaller than what model '{demand.model}' sees "
            f"({demand.width}x{demand.height}): set a larger picture"
        )
    elif seen.width * seen.height > LARGE:
        yield (
            f"{seen.width}x{seen.height} is more than needed, and decoding it costs accordingly: the model sees "
            f"{demand.width}x{demand.height}; take the camera's second stream, or make zones"
        )
    if seen.interlaced:
        yield "the pictures are interlaced: set the camera to progressive, or moving edges are combs"
    if seen.change < STILL and seen.watched_s >= 1:
        yield "the picture does not change at all: is it frozen, or its lens covered?"


def _rate(seen: Observation, demand: Demand) -> Iterator[str]:
    if seen.fps is None:
        yield "only one picture came: watch longer with --seconds"
    elif seen.fps < SLOW * demand.rate_hz:
        yield (
            f"it delivers {seen.fps:.3g} fps: model '{demand.model}' needs {demand.rate_hz:g}; set the camera to "
            f"{demand.rate_hz:g} fps or more"
        )
    elif seen.fps_declared and seen.fps < 0.9 * seen.fps_declared:
        yield (
            f"it says {seen.fps_declared:g} fps and delivers {seen.fps:.3g}: in the dark the exposure is longer, or "
            "its processor or the network does not keep up"
        )
    if seen.longest_gap_s is not None and seen.longest_gap_s > max(1.0, 3 / demand.rate_hz):
        yield f"no picture for {seen.longest_gap_s:.1f} s: such a gap ends open events; look at the network"


def _stream(seen: Observation) -> Iterator[str]:
    interval_s = seen.keyframe_interval_s
    if interval_s is None and seen.watched_s > LONG_KEYFRAME_INTERVAL_S:
        yield (
            f"fewer than two key frames in {seen.watched_s:.0f} s: after a reconnect it takes as long until there is a "
            "picture; set the key frame (I-frame) interval to 2 s"
        )
    elif interval_s is not None and interval_s > LONG_KEYFRAME_INTERVAL_S:
        yield (
            f"key frame interval {interval_s:.3g} s: after a reconnect it takes so long until there is a picture; "
            "set the key frame (I-frame) interval to 2 s"
        )
    if seen.b_frames:
        yield "it sends B-frames, which delay every picture: set profile Baseline, or B-frames to 0"
    if seen.packets_lost:
        yield f"{seen.packets_lost} packets were lost: use `transport: tcp`"
    if seen.jitter_ms is not None and seen.jitter_ms > JITTER_MS:
        yield f"pictures come unevenly (jitter {seen.jitter_ms:.0f} ms): prefer a cable to Wi-Fi"
    if seen.sender_reports and seen.clock is ClockSource.ARRIVAL:
        yield "its sender reports carry no time of day: set NTP on the camera; until then events say `arrival`"
    if seen.clock_offset_s is not None and abs(seen.clock_offset_s) > CLOCK_OFF_S:
        ahead = "ahead of" if seen.clock_offset_s > 0 else "behind"
        off_s = abs(seen.clock_offset_s)
        yield f"its clock is {off_s:,.0f} s {ahead} this machine's, and events take it: set NTP on the camera"
    if (
        seen.drift_ppm is not None
        and seen.drift_error_ppm is not None
        and abs(seen.drift_ppm) - seen.drift_error_ppm > DRIFT_PPM
    ):
        pace = "fast" if seen.drift_ppm > 0 else "slow"
        percent = abs(seen.drift_ppm) / 1e4
        yield f"its time stamps run {percent:.1f} % {pace}, which no crystal does: look for new firmware"


def failure_advice(error: SourceError, uri: CameraUri) -> str:
    """What to do about a camera that gives no picture."""
    match error.error_class:
        case ErrorClass.AUTH if uri.scheme in {"file", "v4l2"}:
            return "let this user read it"
        case ErrorClass.AUTH if not uri.user:
            return (
                "it wants a user name and password: rtsp://USER:PASSWORD@..., with special characters as %XX; in a "
                "configuration `user` and `password_file`"
            )
        case ErrorClass.AUTH:
            return (
                "look at the user name and password, with special characters as %XX, and whether this user may watch; "
                "many cameras lock a user out for minutes after wrong tries"
            )
        case ErrorClass.NOT_FOUND if uri.host and "host" in str(error):
            return "look for a mistake in the host's name, or give its number"
        case ErrorClass.NOT_FOUND if uri.host:
            return "look up the path of the stream in the camera's manual or web page; it differs from maker to maker"
        case ErrorClass.NOT_FOUND:
            return "look for a mistake in the path"
        case ErrorClass.REFUSED | ErrorClass.TIMEOUT:
            return f"{_HOST}; RTSP must be turned on, mostly on port 554" if uri.host else ""
        case ErrorClass.CODEC:
            missing = _NO_DECODER.search(str(error))
            return codec_advice(missing[1]) if missing else "take a stream with H.264 video"
        case ErrorClass.TLS:
            return (
                "name the camera's own certificate, or its authority's, in `tls_ca`; `tls_verify: false` in a "
                "configuration trusts anyone; or use rtsp://"
            )
        case ErrorClass.PROTOCOL:
            return (
                "try --transport udp or auto, and set `transport` so in a configuration"
                if uri.host
                else "it may be damaged"
            )
        case ErrorClass.EOF:
            return "the camera hangs up: it may have too many clients, or restart"
