"""Source: one camera or file as a sequence of Frames, received and decoded by GStreamer.

A live source never blocks its sender: when frames are not read in time, old ones are dropped here, so that
latency cannot grow. A file is read without loss, as fast as its reader asks. The planes of a Frame are views
into the decoder's memory, which lives as long as they do (see stream.buffer).
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

from stream.buffer import Layout, buffer_bytes, planes
from stream.failure import (
    EndOfStream,
    ErrorClass,
    Failure,
    SourceError,
    classify,
    connection_failure,
)
from stream.frame import NS_PER_S, ClockSource, Frame
from stream.gstreamer import Gst, GstVideo
from stream.receiver import LIVE_QUEUE, Receiver, SourceOptions
from stream.uri import CameraUri

__all__ = ["Source", "SourceOptions"]

# How long a read waits before it looks at what the pipeline reports: longer than a frame, or it costs a wake-up each.
_SLICE_NS = 100_000_000
_COUNT_EVERY_NS = NS_PER_S
# How long to try, after a connection failed, to find out why. A camera that is told to stop meanwhile has to end within
# `stream.worker.STOP_S`, or its worker does.
_PROBE_S = 2.0

# A file's decoder only waits for its reader; this is how often a very slow one is asked again.
_PATIENCE_S = 1.0

_NTP_TO_UNIX_NS = 2_208_988_800 * NS_PER_S
# Some servers put their uptime into the NTP field of a sender report; no camera is from before 2000.
_YEAR_2000_NS = 946_684_800 * NS_PER_S

_MESSAGES = Gst.MessageType.ERROR | Gst.MessageType.EOS
_FULL_RANGE = getattr(GstVideo.VideoColorRange, "0_255")


class _Format(NamedTuple):
    """What the caps of a picture say: the same for all pictures until the camera changes something."""

    caps: Any
    layout: Layout
    full_range: bool

    @classmethod
    def of(cls, caps: Any) -> _Format:
        info = GstVideo.VideoInfo.new_from_caps(caps)
        layout = Layout(info.height, info.width, tuple(info.offset[:3]), tuple(info.stride[:3]))
        return cls(caps, layout, info.colorimetry.range == _FULL_RANGE)


class Source:
    """A camera or a file. One thread opens, reads and closes it.

        with Source("rtsp://...") as source:
            while True:
                frame = source.read(timeout_s=1.0)   # None: nothing came within the second

    `open` and `read` raise SourceError, `read` raises EndOfStream at the end of a file. After either, only
    `close` is of use: another try takes another Source.

    dropped: pictures of a live source that were decoded and not read in time, as known a second ago.
    """

    def __init__(
        self,
        uri: str | CameraUri,
        options: SourceOptions | None = None,
        receiver: Callable[[CameraUri, SourceOptions], Receiver] = Receiver,
    ) -> None:
        """receiver: makes the pipeline; another one may look into it."""
        self.uri = uri if isinstance(uri, CameraUri) else CameraUri.parse(uri)
        self.options = options if options is not None else SourceOptions()
        self._make_receiver = receiver
        self._receiver: Receiver | None = None
        self._opened_utc_ns = 0
        self.dropped = 0
        self._pulled = 0
        self._counted_ns = 0  # when the dropped ones were
        self._waited_ns = 0  # in `read`, since the last picture
        self._format: _Format | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Start to connect, without waiting for it: what goes wrong on the way, `read` raises."""
        if self._opened_utc_ns:
            raise RuntimeError("a source is opened once: make another")
        self._opened_utc_ns = time.time_ns()
        self._check()
        self._receiver = self._make_receiver(self.uri, self.options)
        self._receiver.start()

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None if none comes within `timeout_s`."""
        receiver = self._receiver
        if receiver is None:
            raise RuntimeError("this source is not open")
        begun_ns, before_ns = time.monotonic_ns(), self._waited_ns
        timeout_ns = round(timeout_s * NS_PER_S)
        sample = None
        if self.uri.live and begun_ns - self._counted_ns >= _COUNT_EVERY_NS:
            self._counted_ns = begun_ns
            sample = self._count_dropped(receiver)
        while True:
            elapsed_ns = time.monotonic_ns() - begun_ns
            if sample is None:
                sample = receiver.sink.try_pull_sample(min(max(timeout_ns - elapsed_ns, 0), _SLICE_NS))
            if sample is not None:
                self._pulled += 1
                frame = self._frame(sample)
                if frame is not None:
                    self._waited_ns = 0
                    return frame
                sample = None
                continue
            self._look_for_trouble(receiver)
            elapsed_ns = time.monotonic_ns() - begun_ns
            self._waited_ns = before_ns + elapsed_ns
            if self._waited_ns > self.options.timeout_s * NS_PER_S:
                raise SourceError(ErrorClass.TIMEOUT, f"{self.uri}: no picture for {self.options.timeout_s:g} s")
            if elapsed_ns >= timeout_ns:
                return None

    def frames(self) -> Iterator[Frame]:
        """Every frame until the end of the file. Raises SourceError."""
        while True:
            try:
                frame = self.read(_PATIENCE_S)
            except EndOfStream:
                return
            if frame is not None:
                yield frame

    def close(self) -> None:
        """Stop and release everything; may be called at any time, and again."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.stop()
        self._format = None

    def _check(self) -> None:
        """What can be said better before GStreamer tries."""
        uri = self.uri
        if uri.scheme == "demo":
            raise SourceError(
                ErrorClass.NOT_FOUND, "demo:// stands for the demo camera's rtsp:// address; start it first"
            )
        if uri.scheme not in {"file", "v4l2"}:
            return
        path = uri.redact(uri.path)
        try:
            if uri.scheme == "file" and os.path.isdir(uri.path):
                raise SourceError(ErrorClass.NOT_FOUND, f"{path} is a folder, not a video file")
            if os.stat(uri.path).st_size == 0 and uri.scheme == "file":
                raise SourceError(ErrorClass.PROTOCOL, f"{path} is empty (0 bytes)")
            if not os.access(uri.path, os.R_OK):
                raise SourceError(ErrorClass.AUTH, f"{path}: no permission to read it")
        except OSError as error:
            raise SourceError(ErrorClass.NOT_FOUND, f"{path}: {error.strerror}") from None

    def _count_dropped(self, receiver: Receiver) -> Any:
        """Exact when nothing waits in the queue, as is usual; otherwise those that surely were. Returns what waits."""
        decoded = receiver.decoded
        sample = receiver.sink.try_pull_sample(0)
        waiting = 0 if sample is None else LIVE_QUEUE
        self.dropped = max(self.dropped, decoded - self._pulled - waiting)
        return sample

    def _look_for_trouble(self, receiver: Receiver) -> None:
        if receiver.fault is not None:
            raise receiver.fault
        message = receiver.bus.timed_pop_filtered(0, _MESSAGES)
        if message is None:
            return
        if message.type == Gst.MessageType.EOS:
            if not self.uri.live:
                raise EndOfStream
            raise SourceError(ErrorClass.EOF, f"{self.uri}: the camera ended the stream")
        error, debug = message.parse_error()
        raise self._error(receiver, classify(error.domain, error.code, error.message, debug or ""), debug or "")

    def _error(self, receiver: Receiver, failure: Failure, debug: str) -> SourceError:
        uri = self.uri
        if failure.error_class == ErrorClass.CODEC and self._format is not None:
            # It could be decoded until now: damage on the way, not a codec that nobody has.
            failure = failure._replace(error_class=ErrorClass.PROTOCOL)
        if receiver.bad_certificate:
            failure = Failure(
                ErrorClass.TLS,
                f"its certificate is not trusted ({receiver.bad_certificate}); name its authority in tls_ca",
            )
        elif uri.host and "Failed to connect" in debug:
            unreachable = connection_failure(uri.host, uri.port, min(self.options.timeout_s, _PROBE_S))
            if unreachable is not None:
                failure = unreachable
            elif uri.scheme == "rtsps":
                failure = Failure(ErrorClass.TLS, "no encrypted connection could be made; is it an rtsp:// port?")
        elif not receiver.video_offered and (failure.error_class == ErrorClass.CODEC or "not-linked" in debug):
            failure = Failure(ErrorClass.CODEC, "it has no video stream")
        elif uri.host and "setup_streams" in debug:
            failure = Failure(ErrorClass.PROTOCOL, "the camera refuses this transport; choose tcp, udp or auto")
        return SourceError(failure.error_class, uri.redact(f"{uri}: {failure.text}"))

    def _frame(self, sample: Any) -> Frame | None:
        """A picture and its times; None for one that has no PTS, which cannot be placed on a tick."""
        arrival_ns = time.monotonic_ns()
        buffer = sample.get_buffer()
        pts_ns = sample.get_segment().to_running_time(Gst.Format.TIME, buffer.pts)
        if pts_ns == Gst.CLOCK_TIME_NONE:
            return None
        caps = sample.get_caps()
        if self._format is None or hash(caps) != hash(self._format.caps):  # PyGObject's hash of caps: their address
            self._format = _Format.of(caps)
        data = buffer_bytes(buffer, self.options.zero_copy)
        y, u, v = planes(data, _padded(buffer, self._format.layout))
        utc_ns, clock = self._utc(buffer, pts_ns)
        return Frame(y, u, v, pts_ns, arrival_ns, utc_ns, clock, self._format.full_range)

    def _utc(self, buffer: Any, pts_ns: int) -> tuple[int, ClockSource]:
        """The camera's own time where its sender reports gave it, else the time here.

        A file's pictures are dated from when it was opened, so that they are as far apart as in the file
        however fast it is read.
        """
        if not self.uri.live:
            return self._opened_utc_ns + pts_ns, ClockSource.ARRIVAL
        meta = buffer.get_reference_timestamp_meta(_ntp_caps())
        if meta is not None and meta.timestamp - _NTP_TO_UNIX_NS > _YEAR_2000_NS:
            return meta.timestamp - _NTP_TO_UNIX_NS, ClockSource.RTCP
        return time.time_ns(), ClockSource.ARRIVAL


@functools.cache
def _ntp_caps() -> Any:
    return Gst.Caps.from_string("timestamp/x-ntp")


def _padded(buffer: Any, packed: Layout) -> Layout:
    """Decoders say in a GstVideoMeta where they padded a picture; without one, it is packed as its caps say."""
    meta = GstVideo.buffer_get_video_meta(buffer)
    if meta is None:
        return packed
    return Layout(packed.height, packed.width, tuple(meta.offset[:3]), tuple(meta.stride[:3]))
