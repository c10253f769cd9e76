"""A camera or file watched for some seconds through the receiver that `run` uses, and what can be said of it."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from stream.doctor.probe import CodedPicture, ProbedReceiver, RtpReport
from stream.doctor.timing import Timing, rtp_ns, timing
from stream.failure import EndOfStream, ErrorClass, SourceError
from stream.frame import NS_PER_S, ClockSource, Frame, PlaneArray
from stream.receiver import SourceOptions
from stream.source import Source
from stream.uri import CameraUri

Progress = Callable[[float], None]
"""Called with the seconds watched so far."""

_READ_S = 0.2
_LOOK_S = 0.5  # between pictures that are compared
_LOOK_STEP = 8  # pixels

_CODECS = {
    "video/x-h264": "H.264",
    "video/x-h265": "H.265",
    "image/jpeg": "MJPEG",
    "video/x-vp8": "VP8",
    "video/x-vp9": "VP9",
    "video/x-av1": "AV1",
}


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen. None: it could not be known (too short a time, or not of this kind of source).

    fps: pictures delivered a second; fps_declared: what the stream says of itself. keyframe_interval_s: longest time
    from one to the next, None where fewer than two came. clock: where UTC came from at the end; clock_offset_s: the
    camera's clock minus ours, less the way. jitter, drift: see `timing`; of RTP timestamps as they came from the
    network (PTS are already evened out), else of PTS. longest_gap_s: between two pictures, the end of watching
    included. change: largest mean difference of luma to the first picture, in grey levels. core_ms_per_s: CPU time for
    receiving and decoding, per second of the stream.
    """

    watched_s: float
    first_picture_s: float
    pictures: int
    codec: str
    profile: str | None
    level: str | None
    width: int
    height: int
    fps: float | None
    fps_declared: float | None
    keyframes: int
    keyframe_interval_s: float | None
    b_frames: bool
    interlaced: bool
    bit_rate_kbps: float | None
    clock: ClockSource
    sender_reports: bool
    clock_offset_s: float | None
    packets_lost: int | None
    jitter_ms: float | None
    drift_ppm: float | None
    drift_error_ppm: float | None
    longest_gap_s: float | None
    change: float
    core_ms_per_s: float | None


@dataclass
class _Notes:
    """Of decoded pictures."""

    pts_ns: list[int] = field(default_factory=list)
    arrival_ns: list[int] = field(default_factory=list)
    offsets_s: list[float] = field(default_factory=list)  # of a camera that sends its own time
    size: tuple[int, int] = (0, 0)
    clock: ClockSource = ClockSource.ARRIVAL
    first: PlaneArray | None = None
    looked_ns: int = 0
    change: float = 0.0

    def add(self, frame: Frame) -> None:
        self.pts_ns.append(frame.pts_ns)
        self.arrival_ns.append(frame.arrival_ns)
        self.size, self.clock = (frame.width, frame.height), frame.clock
        if frame.clock is ClockSource.RTCP:
            self.offsets_s.append((frame.utc_ns - time.time_ns()) / NS_PER_S)
        if self.first is not None and frame.pts_ns - self.looked_ns < _LOOK_S * NS_PER_S:
            return
        self.looked_ns = frame.pts_ns
        luma = frame.y[::_LOOK_STEP, ::_LOOK_STEP].copy()
        if self.first is None or self.first.shape != luma.shape:
            self.first = luma
        self.change = max(self.change, float(np.abs(luma.astype(np.int16) - self.first).mean()))


def observe(
    uri: CameraUri, options: SourceOptions, seconds: float, stop: threading.Event, progress: Progress
) -> Observation:
    """Watch for `seconds` from the first picture on (of a file: so much of it), or until `stop` is set.

    Raises SourceError if there is no picture, or the camera fails meanwhile; EndOfStream for a file without one.
    """
    receivers: list[ProbedReceiver] = []

    def receive(uri: CameraUri, options: SourceOptions) -> ProbedReceiver:
        receivers.append(ProbedReceiver(uri, options))
        return receivers[-1]

    notes = _Notes()
    opened_s = first_s = time.monotonic()
    cpu_s = time.process_time()
    with Source(uri, options, receive) as source:
        while not stop.is_set():
            try:
                frame = source.read(_READ_S)
            except EndOfStream:
                if not notes.pts_ns:
                    raise
                break
            if frame is not None:
                if not notes.pts_ns:
                    first_s = time.monotonic()
                notes.add(frame)
            watched_s = time.monotonic() - first_s if uri.live else _span_s(notes.pts_ns)
            if notes.pts_ns:
                progress(watched_s)
                if watched_s >= seconds:
                    break
        if not notes.pts_ns:
            raise SourceError(ErrorClass.TIMEOUT, f"{uri}: stopped before a picture came")
        cpu_s, ended_s = time.process_time() - cpu_s, time.monotonic()
        (receiver,) = receivers
        return _observation(uri.live, notes, receiver, first_s - opened_s, ended_s, cpu_s)


def _observation(
    live: bool, notes: _Notes, receiver: ProbedReceiver, first_s: float, ended_s: float, cpu_s: float
) -> Observation:
    pictures, report, caps = receiver.pictures[:], receiver.rtp(), receiver.caps()
    span_s = _span_s(notes.pts_ns)
    watched_s = ended_s - notes.arrival_ns[0] / NS_PER_S if live else span_s
    # A burst of old pictures at the start is longer on the stream's clock than here; a stall is shorter.
    paced_s = max(span_s, (notes.arrival_ns[-1] - notes.arrival_ns[0]) / NS_PER_S) if live else span_s
    paced = _timing(notes, receiver, report) if live else None
    coded_s = _span_s([picture.pts_ns for picture in pictures if picture.pts_ns is not None])
    keys = [picture.pts_ns for picture in pictures if picture.key and picture.pts_ns is not None]
    return Observation(
        watched_s=watched_s,
        first_picture_s=first_s,
        pictures=len(notes.pts_ns),
        codec="uncoded" if caps is None else _CODECS.get(caps.get_name(), caps.get_name()),
        profile=_string(caps, "profile"),
        level=_string(caps, "level"),
        width=notes.size[0],
        height=notes.size[1],
        fps=(len(notes.pts_ns) - 1) / paced_s if paced_s else None,
        fps_declared=_framerate(caps),
        keyframes=len(keys),
        keyframe_interval_s=max((b - a for a, b in pairwise(sorted(keys))), default=0) / NS_PER_S or None,
        b_frames=_reordered(pictures),
        interlaced=_string(caps, "interlace-mode") not in {None, "progressive"},
        bit_rate_kbps=sum(p.size_bytes for p in pictures[:-1]) * 8 / 1e3 / coded_s if coded_s else None,
        clock=notes.clock,
        sender_reports=report is not None and report.sender_reports,
        clock_offset_s=statistics.median(notes.offsets_s) if notes.offsets_s else None,
        packets_lost=None if report is None else report.lost,
        jitter_ms=None if paced is None else paced.jitter_ms,
        drift_ppm=None if paced is None else paced.drift_ppm,
        drift_error_ppm=None if paced is None else paced.drift_error_ppm,
        longest_gap_s=_longest_gap_s(notes, ended_s, live),
        change=notes.change,
        core_ms_per_s=cpu_s * 1e3 / span_s if span_s else None,
    )


def _timing(notes: _Notes, receiver: ProbedReceiver, report: RtpReport | None) -> Timing | None:
    if report is None:
        return timing(notes.arrival_ns, notes.pts_ns)
    times = receiver.times[:]
    return timing([t.arrival_ns for t in times], rtp_ns([t.timestamp for t in times], report.clock_rate))


def _longest_gap_s(notes: _Notes, ended_s: float, live: bool) -> float | None:
    gaps = [(b - a) / NS_PER_S for a, b in pairwise(notes.pts_ns)]
    if live:
        gaps.append(ended_s - notes.arrival_ns[-1] / NS_PER_S)
    return max(gaps, default=None)


def _reordered(pictures: list[CodedPicture]) -> bool:
    """Whether pictures are decoded in another order than they are shown."""
    times = [picture.pts_ns for picture in pictures if picture.pts_ns is not None]
    return any(later < earlier for earlier, later in pairwise(times))


def _span_s(times_ns: list[int]) -> float:
    return (max(times_ns) - min(times_ns)) / NS_PER_S if times_ns else 0.0


def _string(caps: Any, name: str) -> str | None:
    return None if caps is None else caps.get_string(name)


def _framerate(caps: Any) -> float | None:
    if caps is None:
        return None
    known, numerator, denominator = caps.get_fraction("framerate")
    return numerator / denominator if known and numerator and denominator else None
