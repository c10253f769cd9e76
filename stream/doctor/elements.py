"""GStreamer: its version, and the elements that pipelines are made of, by what they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import gi

from stream import pipeline
from stream.doctor.check import Check
from stream.gstreamer import Gio, Gst
from stream.pipeline import CUDA_ELEMENTS, Available, Codec

_BASE, _GOOD, _BAD, _UGLY, _LIBAV = (
    f"gstreamer1.0-{name}" for name in ("plugins-base", "plugins-good", "plugins-bad", "plugins-ugly", "libav")
)

# What brings each element, on Debian and Ubuntu.
PACKAGES = {
    **dict.fromkeys(("identity", "filesrc"), "libgstreamer1.0-0"),
    **dict.fromkeys(("appsink", "appsrc", "decodebin", "videoconvert"), _BASE),
    **dict.fromkeys(("rtspsrc", "rtpbin", "udpsrc", "rtph264depay", "rtph265depay", "rtpjpegdepay", "jpegdec"), _GOOD),
    **dict.fromkeys(("qtdemux", "matroskademux", "avidemux", "v4l2src", "rtph264pay"), _GOOD),
    **dict.fromkeys(("h264parse", "h265parse", "jpegparse", "tsdemux", "openh264dec", "libde265dec"), _BAD),
    **dict.fromkeys(("nvh264dec", "nvh265dec", "nvjpegdec", *CUDA_ELEMENTS), _BAD),
    **dict.fromkeys(("avdec_h264", "avdec_h265", "avdec_mjpeg"), _LIBAV),
    "x264enc": _UGLY,
}


def gstreamer(available: Available | None = None) -> Iterator[Check]:
    """available: whether an element is installed; by default GStreamer is asked."""
    Gst.init(None)
    available = available or (lambda name: Gst.ElementFactory.find(name) is not None)
    yield Check("GStreamer", True, Gst.version_string().removeprefix("GStreamer "), needed=True)
    yield _row("pictures", (pipeline.ANY_DECODER, "identity", "videoconvert", "appsink"), available, needed=True)
    yield _row("RTSP", ("rtspsrc", "rtpbin", "udpsrc"), available, needed=True)
    for codec in pipeline.RTP_CODECS.values():
        yield _codec(codec, available)
    yield _nvidia(available)
    yield _row("files", ("filesrc", "qtdemux", "matroskademux", "avidemux", "tsdemux"), available)
    yield _row("v4l2 devices", ("v4l2src",), available)
    tls = Gio.TlsBackend.get_default().supports_tls()
    yield Check("rtsps (TLS)", tls, "supported" if tls else "not supported", "" if tls else apt(("glib-networking",)))
    yield _demo(available)


def codec_advice(encoding: str) -> str:
    """How to get a decoder. encoding: RTP's name of the format, such as H265."""
    codec = pipeline.RTP_CODECS.get(encoding.upper())
    if codec is None:
        return "set the camera to H.264"
    return apt(PACKAGES[name] for name in _names((codec.depayload, codec.parse, codec.software[0])))


def apt(packages: Iterable[str]) -> str:
    return f"apt install {' '.join(sorted(set(packages)))}"


def _codec(codec: Codec, available: Available) -> Check:
    """A decoder of several is enough."""
    fixed, decoders = _names((codec.depayload, codec.parse)), _names((*codec.software, *codec.nvidia))
    chosen = pipeline.decoder(codec, available)
    here = [name for name in (*fixed, *decoders) if available(name)]
    missing = [name for name in fixed if not available(name)]
    if chosen is None:
        missing.append(decoders[0])
    found = _told(here, [name for name in (*fixed, *decoders) if name not in here])
    advice = apt(PACKAGES[name] for name in missing) if missing else ""
    return Check(codec.name, not missing, found, advice, needed=codec is pipeline.H264)


def _nvidia(available: Available) -> Check:
    decoders = tuple(name for codec in pipeline.RTP_CODECS.values() for name in codec.nvidia)
    check = _row("decoding by NVIDIA", (*CUDA_ELEMENTS, *decoders), available)
    if check.ok:
        return check
    return Check(check.name, False, check.found, f"{check.advice}; they appear only where there is an NVIDIA driver")


def _demo(available: Available) -> Check:
    check = _row("demo camera", ("appsrc", "x264enc", "rtph264pay"), available)
    try:
        gi.require_version("GstRtspServer", "1.0")
    except ValueError:
        package = "gir1.2-gst-rtsp-server-1.0"
        return Check(check.name, False, f"no RTSP server; {check.found}", f"{check.advice or 'apt install'} {package}")
    return Check(check.name, check.ok, f"RTSP server, {check.found}", check.advice)


def _row(name: str, elements: tuple[str, ...], available: Callable[[str], bool], needed: bool = False) -> Check:
    """All of the elements are wanted."""
    missing = [element for element in elements if not available(element)]
    found = _told([element for element in elements if element not in missing], missing)
    return Check(name, not missing, found, apt(PACKAGES[e] for e in missing) if missing else "", needed)


def _told(here: list[str], missing: list[str]) -> str:
    return "; ".join(filter(None, (", ".join(here), f"not here: {', '.join(missing)}" if missing else "")))


def _names(descriptions: Iterable[str]) -> list[str]:
    """Of elements, without their properties."""
    return [text.split()[0] for text in descriptions]
