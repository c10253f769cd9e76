"""ProbedReceiver: a Receiver that notes what passes through its pipeline, coded pictures and RTP packets.

A few callbacks a packet in Python: nothing for the hot path, where nobody looks.
"""

from __future__ import annotations

import struct
import time
from typing import Any, NamedTuple

from stream.gstreamer import Gst
from stream.receiver import Receiver, SourceOptions
from stream.uri import CameraUri

_VIDEO = Gst.ELEMENT_FACTORY_TYPE_MEDIA_VIDEO | Gst.ELEMENT_FACTORY_TYPE_MEDIA_IMAGE
_RTP_HEADER = struct.Struct(">4xII")  # RFC 3550: timestamp, SSRC
_RTP_HEADER_BYTES = 12


class CodedPicture(NamedTuple):
    """As it goes into the decoder. pts_ns: None where it has none; key: it can be decoded by itself."""

    pts_ns: int | None
    size_bytes: int
    key: bool


class RtpTime(NamedTuple):
    """The first packet with a timestamp. arrival_ns: monotonic, from the network; timestamp: in the format's clock."""

    arrival_ns: int
    timestamp: int


class RtpReport(NamedTuple):
    """sender_reports: whether any came. lost: packets. clock_rate: of the timestamps, in Hz."""

    sender_reports: bool
    lost: int
    clock_rate: int


class ProbedReceiver(Receiver):
    """pictures, times: appended to in GStreamer's threads; times stay empty without RTP."""

    def __init__(self, uri: CameraUri, options: SourceOptions) -> None:
        super().__init__(uri, options)
        self.pictures: list[CodedPicture] = []
        self.times: list[RtpTime] = []
        self._decoder_pad: Any = None
        self._session: Any = None
        self._ssrc = 0
        self._pipeline.connect("deep-element-added", self._element_added)
        elements = self._pipeline.iterate_recurse()
        while (step := elements.next())[0] == Gst.IteratorResult.OK:  # those of a file that needs no demuxer
            self._element_added(self._pipeline, self._pipeline, step[1])

    def stop(self) -> None:
        super().stop()
        self._decoder_pad = self._session = None

    def caps(self) -> Any:
        """Of the coded pictures, as a Gst.Structure; None before there are any, or where they come uncoded."""
        caps = None if self._decoder_pad is None else self._decoder_pad.get_current_caps()
        return None if caps is None else caps.get_structure(0)

    def rtp(self) -> RtpReport | None:
        """What the RTP session knows; None without RTP."""
        if self._session is None or not self.times:
            return None
        sender = self._session.get_property("internal-session").emit("get-source-by-ssrc", self._ssrc)
        if sender is None:
            return None
        stats = sender.get_property("stats")
        lost, rate = stats.get_value("packets-lost"), stats.get_value("clock-rate")
        return RtpReport(stats.get_value("have-sr"), max(0, lost), max(1, rate))

    def _element_added(self, _pipeline: Any, _bin: Any, element: Any) -> None:
        factory = element.get_factory()
        if factory is None:
            return
        if factory.get_name() == "rtpsession":
            self._session = element
            element.connect("pad-added", self._session_pad_added)
        elif factory.list_is_type(Gst.ELEMENT_FACTORY_TYPE_DECODER) and factory.list_is_type(_VIDEO):
            self._decoder_pad = element.get_static_pad("sink")
            self._decoder_pad.add_probe(Gst.PadProbeType.BUFFER, self._picture)

    def _session_pad_added(self, _session: Any, pad: Any) -> None:
        if pad.get_name() == "recv_rtp_sink":
            pad.add_probe(Gst.PadProbeType.BUFFER, self._packet)

    def _picture(self, _pad: Any, info: Any) -> Any:
        buffer = info.get_buffer()
        pts = None if buffer.pts == Gst.CLOCK_TIME_NONE else buffer.pts
        key = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
        self.pictures.append(CodedPicture(pts, buffer.get_size(), key))
        return Gst.PadProbeReturn.OK

    def _packet(self, _pad: Any, info: Any) -> Any:
        arrival_ns = time.monotonic_ns()
        header = info.get_buffer().extract_dup(0, _RTP_HEADER_BYTES)
        if len(header) == _RTP_HEADER_BYTES:
            timestamp, self._ssrc = _RTP_HEADER.unpack(header)
            if not self.times or self.times[-1].timestamp != timestamp:
                self.times.append(RtpTime(arrival_ns, timestamp))
        return Gst.PadProbeReturn.OK
