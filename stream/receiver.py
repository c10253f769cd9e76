"""Receiver: the GStreamer pipeline that fetches and decodes one camera or file, up to the queue of pictures.

Its elements are chosen by the pure functions of `stream.pipeline`; what GStreamer reports from its own threads
is noted here and read by `Source`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from stream import pipeline
from stream.failure import ErrorClass, SourceError
from stream.gstreamer import Gio, GLib, Gst, GstApp, GstBase
from stream.uri import CameraUri

assert GstApp  # importing it gives the sink its try_pull_sample

# Decoded pictures before the reader: enough for a hiccup of its thread, too few to add latency.
LIVE_QUEUE = 4
_FILE_QUEUE = 2

# A packet that is later than the jitter buffer's latency resets its clock, and a burst after a stall gets one PTS
# for all its pictures. Over TCP packets are in order and go straight through, so a long one delays nothing.
_TCP_LATENCY_MS = 2000

# How much of a file is enough to know its format.
_TYPE_BYTES = 1 << 16

_TRANSPORTS = {"tcp": "tcp", "udp": "udp", "auto": "udp+tcp"}


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to receive.

    transport: of RTP; "auto" tries UDP and falls back to TCP. latency_ms: how long to wait
    for UDP packets that are late or out of order; over TCP they cannot be out of order, nothing waits, and stalls of
    up to 2 s are evened out whatever it says. timeout_s: after waiting in vain for so long, a source fails.
    max_size: (width, height) that is enough for all zones; a GPU shrinks to it before downloading.
    tls_verify: check the certificate of rtsps; tls_ca: a PEM file of authorities to trust instead of the
    system's. zero_copy: False copies every picture (where views cannot be had, this happens by itself).
    """

    transport: Literal["tcp", "udp", "auto"] = "tcp"
    latency_ms: int = 200
    timeout_s: float = 10.0
    max_size: tuple[int, int] | None = None
    tls_verify: bool = True
    tls_ca: str | None = None
    zero_copy: bool = True


class Receiver:
    """A pipeline that is built, but not started.

    sink: its appsink, which holds pictures in I420; bus: where it reports its end and its errors. fault: what
    was found out that GStreamer does not report; video_offered: whether there is a video stream;
    bad_certificate: what is wrong with the certificate of an rtsps camera, or "". Raises SourceError.
    """

    def __init__(self, uri: CameraUri, options: SourceOptions) -> None:
        Gst.init(None)
        self._uri = uri
        self._options = options
        self.fault: SourceError | None = None
        self.video_offered = False
        self.bad_certificate = ""
        self._pipeline = Gst.Pipeline.new(None)
        self.bus = self._pipeline.get_bus()
        self._pipeline.connect("deep-element-added", _single_threaded)
        self.sink = _make("appsink")
        self.sink.set_property("caps", Gst.Caps.from_string("video/x-raw,format=I420"))
        self.sink.set_property("sync", False)  # when a picture is due is for the sampler to judge
        self.sink.set_property("enable-last-sample", False)
        self.sink.set_property("drop", uri.live)  # a live source drops the oldest, a file waits
        self.sink.set_property("max-buffers", LIVE_QUEUE if uri.live else _FILE_QUEUE)
        self._pipeline.add(self.sink)
        if uri.host:
            self._add_network_head()
        elif uri.scheme == "file":
            self._add_file_head()
        else:
            self._add_device_head()

    def start(self) -> None:
        """Begin to connect, without waiting. A failure is on the bus, with its reason."""
        self._pipeline.set_state(Gst.State.PLAYING)

    @property
    def decoded(self) -> int:
        """Pictures that have come to the sink so far, those too that it dropped."""
        return int(self.sink.get_property("stats").get_value("rendered"))

    def stop(self) -> None:
        """Close the connection and end all threads; after it nothing is reported any more."""
        self._pipeline.set_state(Gst.State.NULL)
        self.bus.set_flushing(True)
        # The pipeline holds this object by its signal handlers: a cycle through C that Python's collector cannot see.
        self._pipeline = self.bus = self.sink = None

    def _add_network_head(self) -> None:
        options = self._options
        head = _make("rtspsrc")
        head.set_property("location", self._uri.location)
        if self._uri.user or self._uri.password:
            head.set_property("user-id", self._uri.user)
            head.set_property("user-pw", self._uri.password)
        Gst.util_set_object_arg(head, "protocols", _TRANSPORTS[options.transport])
        over_tcp = options.transport == "tcp"
        head.set_property("latency", max(options.latency_ms, _TCP_LATENCY_MS) if over_tcp else options.latency_ms)
        # Late packets are lost rather than delaying all that follow. TCP loses none, and after a loss of our own the
        # depayloader would wait for the next key frame: 10 to 20 s with an encoder's usual settings.
        head.set_property("drop-on-latency", not over_tcp)
        head.set_property("do-retransmission", False)  # cameras do not answer these requests
        # Slave: PTS follow this machine's clock, jitter smoothed away, so they do not drift over weeks.
        Gst.util_set_object_arg(head, "buffer-mode", "slave")
        head.set_property("tcp-timeout", round(options.timeout_s * 1e6))
        head.set_property("timeout", round(options.timeout_s * 1e6 / 2) if options.transport == "auto" else 0)
        if head.find_property("add-reference-timestamp-meta") is not None:  # GStreamer 1.22
            head.set_property("add-reference-timestamp-meta", True)
        if not options.tls_verify:
            head.set_property("tls-validation-flags", Gio.TlsCertificateFlags(0))
        elif options.tls_ca is not None:
            head.set_property("tls-database", self._authorities(options.tls_ca))
        head.connect("accept-certificate", self._refuse_certificate)
        head.connect("select-stream", self._select_stream)
        head.connect("pad-added", self._pad_added)
        self._pipeline.add(head)

    def _authorities(self, path: str) -> Any:
        try:
            return Gio.TlsFileDatabase.new(os.path.abspath(path))
        except GLib.Error as error:
            raise SourceError(ErrorClass.TLS, f"{self._uri}: tls_ca {path}: {error.message}") from None

    def _add_file_head(self) -> None:
        # Not parsebin or decodebin, which swallow an error that a demuxer reports at once and then wait for ever;
        # not the typefind element, whose thread would change states while the pipeline is still starting.
        reader = _make("filesrc")
        reader.set_property("location", self._uri.path)
        self._pipeline.add(reader)
        caps = self._file_type()
        demuxer = _demuxer(caps)
        if demuxer is not None:
            demuxer.connect("pad-added", self._pad_added)
            demuxer.connect("no-more-pads", self._no_more_pads)
            self._pipeline.add(demuxer)
            reader.link(demuxer)
        else:
            kind = caps.get_structure(0).get_name()
            if not pipeline.is_video(kind):
                raise SourceError(ErrorClass.PROTOCOL, f"{self._uri}: it is no video file ({kind})")
            self._decode(reader.get_static_pad("src"), kind, "")

    def _file_type(self) -> Any:
        """Caps of a file, from its beginning."""
        try:
            with open(self._uri.path, "rb") as file:
                caps, _ = GstBase.type_find_helper_for_data(None, file.read(_TYPE_BYTES))
        except OSError as error:
            raise SourceError(ErrorClass.NOT_FOUND, f"{self._uri}: {error.strerror}") from None
        if caps is None:
            raise SourceError(ErrorClass.PROTOCOL, f"{self._uri}: it is no video file")
        return caps

    def _add_device_head(self) -> None:
        reader, head = _make("v4l2src"), _make(pipeline.ANY_DECODER)
        reader.set_property("device", self._uri.path)
        head.connect("pad-added", self._pad_added)
        self._pipeline.add(reader)
        self._pipeline.add(head)
        reader.link(head)

    # ---- called from GStreamer's threads

    def _refuse_certificate(self, _head: Any, _connection: Any, _certificate: Any, errors: Any) -> bool:
        """Asked only about a certificate that did not pass."""
        self.bad_certificate = ", ".join(nick for nick in errors.value_nicks if nick != "no-flags")
        return False

    def _select_stream(self, _head: Any, _number: int, caps: Any) -> bool:
        """Only the first video stream is set up: sound never crosses the network."""
        wanted = not self.video_offered and caps.get_structure(0).get_string("media") == "video"
        self.video_offered = self.video_offered or wanted
        return wanted

    def _no_more_pads(self, _demuxer: Any) -> None:
        if not self.video_offered:
            self.fault = SourceError(ErrorClass.CODEC, f"{self._uri}: it has no video stream")

    def _pad_added(self, _head: Any, pad: Any) -> None:
        media, rtp_media, encoding = _describe(pad.get_current_caps() or pad.query_caps(None))
        if pipeline.is_video(media, rtp_media) and not self.sink.get_static_pad("sink").is_linked():
            self._decode(pad, media, encoding)

    def _decode(self, pad: Any, media: str, encoding: str) -> None:
        """From a pad with video to the sink."""
        self.video_offered = True
        chain = pipeline.chain_for(media, encoding, _available, self._options.max_size)
        if chain is None:
            self.fault = SourceError(ErrorClass.CODEC, f"{self._uri}: no decoder for {encoding or media} is installed")
            return
        try:
            decoder = Gst.parse_bin_from_description(chain, False)
        except GLib.Error as error:
            self.fault = SourceError(ErrorClass.CODEC, f"{self._uri}: GStreamer cannot decode it: {error.message}")
            return
        for name, end in (("sink", pipeline.FIRST), ("src", pipeline.LAST)):
            decoder.add_pad(Gst.GhostPad.new(name, decoder.get_by_name(end).get_static_pad(name)))
        if encoding in pipeline.RTP_REORDERED:
            parsed = decoder.get_by_name(pipeline.PARSER).get_static_pad("src")
            parsed.add_probe(Gst.PadProbeType.BUFFER, TimeFiller().fill)
        self._pipeline.add(decoder)
        decoder.get_static_pad("src").link(self.sink.get_static_pad("sink"))
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))


class TimeFiller:
    """Gives a coded picture without PTS that of the picture before it. A pad probe.

    Some servers (aio-rtsp-toolkit) count RTP timestamps up in the order of decoding, not of showing, though the
    stream has B-frames. GStreamer's decoders notice and give the n-th picture the n-th smallest PTS, but for ever
    stop to do so when one picture has none; a quarter of the frames then repeat a time. The parser takes away
    the PTS of a picture that has the same as the one before, as all pictures of a burst after a stall do.
    """

    def __init__(self) -> None:
        self._before_ns: int = Gst.CLOCK_TIME_NONE

    def fill(self, _pad: Any, info: Any) -> Any:
        buffer = info.get_buffer()
        if buffer.pts == Gst.CLOCK_TIME_NONE:
            buffer.pts = self._before_ns
        else:
            self._before_ns = buffer.pts
        return Gst.PadProbeReturn.OK


def _make(factory: str) -> Any:
    element = Gst.ElementFactory.make(factory, None)
    if element is None:
        raise SourceError(
            ErrorClass.CODEC, f"GStreamer element '{factory}' is missing: install the packages in apt-packages.txt"
        )
    return element


def _demuxer(caps: Any) -> Any:
    """The best demuxer for a file of these caps, or None."""
    factories = Gst.ElementFactory.list_get_elements(Gst.ELEMENT_FACTORY_TYPE_DEMUXER, Gst.Rank.MARGINAL)
    fitting = Gst.ElementFactory.list_filter(factories, caps, Gst.PadDirection.SINK, False)
    return max(fitting, key=Gst.PluginFeature.get_rank).create(None) if fitting else None


def _available(factory: str) -> bool:
    return Gst.ElementFactory.find(factory) is not None


def _single_threaded(_pipeline: Any, _bin: Any, element: Any) -> None:
    """Also decoders that decodebin chose get one thread."""
    if element.find_property("max-threads") is not None:
        element.set_property("max-threads", 1)


def _describe(caps: Any) -> tuple[str, str, str]:
    """Of a pad's caps: name, and for RTP the media ("video") and encoding ("H264"), else ""."""
    structure = caps.get_structure(0)
    return structure.get_name(), structure.get_string("media") or "", structure.get_string("encoding-name") or ""
