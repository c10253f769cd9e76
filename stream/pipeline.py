"""What GStreamer is asked to build, as pure functions of what is to be decoded and which elements exist.

Parallelism is across cameras, so every software decoder has one thread. On a machine with NVIDIA's elements
pictures are decoded, shrunk and converted on the GPU, and only the shrunk ones are downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Available = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Codec:
    """How one video format is taken apart: elements in the order in which they are preferred."""

    name: str
    depayload: str
    parse: str
    nvidia: tuple[str, ...]
    software: tuple[str, ...]


H264 = Codec(
    "H.264",
    "rtph264depay wait-for-keyframe=true",  # half a group of pictures is grey smear: false motion
    "h264parse",
    ("nvh264dec",),
    ("avdec_h264 max-threads=1", "openh264dec"),
)
H265 = Codec(
    "H.265",
    "rtph265depay",
    "h265parse",
    ("nvh265dec",),
    ("avdec_h265 max-threads=1", "libde265dec max-threads=1"),
)
MJPEG = Codec("MJPEG", "rtpjpegdepay", "jpegparse", ("nvjpegdec",), ("jpegdec", "avdec_mjpeg max-threads=1"))

RTP_CODECS = {"H264": H264, "H265": H265, "JPEG": MJPEG}
RTP_REORDERED = frozenset({"H264", "H265"})  # may have B-frames: decoded in another order than they are shown
MEDIA_CODECS = {"video/x-h264": H264, "video/x-h265": H265, "image/jpeg": MJPEG}

# On the GPU: shrink (a range never enlarges), convert, and only then copy to main memory.
CUDA_ELEMENTS = ("cudascale", "cudaconvert", "cudadownload")
_CUDA_RAW = "video/x-raw(memory:CUDAMemory)"

# The ends of a chain. Named, because GStreamer cannot find the loose ends of a bin with a decodebin in it.
FIRST, LAST = "first", "last"
PARSER = "parser"  # what gives the decoder its pictures, one a buffer, where there is a row for the format above
_ENTRY = f"identity name={FIRST} silent=true"
_CONVERT = f"videoconvert name={LAST} n-threads=1"  # passes I420 through untouched

ANY_DECODER = "decodebin"
"""For formats without a row above (old AVI files, VP8...): GStreamer chooses; `single_threaded` still holds."""


def decoder(codec: Codec, available: Available, max_size: tuple[int, int] | None = None) -> str | None:
    """Elements from parsed video to raw pictures, or None where no decoder is installed.

    max_size: (width, height) that is enough for every zone; only a GPU shrinks to it, because on the CPU
    the zones are scaled straight from the decoder's picture.
    """
    parser = f"{codec.parse} name={PARSER}"
    if all(map(available, CUDA_ELEMENTS)):
        for element in filter(available, codec.nvidia):
            shrink = ""
            if max_size is not None:
                width, height = max_size
                shrink = f"cudascale ! {_CUDA_RAW},width=[2,{width}],height=[2,{height}],pixel-aspect-ratio=1/1 ! "
            return f"{parser} ! {element} ! {shrink}cudaconvert ! {_CUDA_RAW},format=I420 ! cudadownload"
    for element in codec.software:
        if available(element.split()[0]):
            return f"{parser} ! {element}"
    return None


def chain_for(media: str, encoding: str, available: Available, max_size: tuple[int, int] | None = None) -> str | None:
    """Elements from a demuxer's or rtspsrc's pad to pictures in I420, or None where no decoder is installed.

    media: name of the pad's caps, such as "video/x-h264" or "application/x-rtp"; encoding: RTP's
    encoding-name, else "".
    """
    over_rtp = media == "application/x-rtp"
    codec = RTP_CODECS.get(encoding) if over_rtp else MEDIA_CODECS.get(media)
    elements = [_ENTRY]
    if codec is not None:
        decoded = decoder(codec, available, max_size)
        if decoded is None:
            return None
        elements += [codec.depayload] * over_rtp + [decoded]
    elif media != "video/x-raw":
        elements.append(ANY_DECODER)
    return " ! ".join([*elements, _CONVERT])


def is_video(media: str, rtp_media: str = "") -> bool:
    """Whether a pad with caps of this name (and, for RTP, this `media` field) carries pictures in motion."""
    if media == "application/x-rtp":
        return rtp_media == "video"
    return media.startswith("video/") or media in {"image/jpeg", "image/gif"}
