"""Video files for tests, from pictures made by the test, with GStreamer's encoders (no ffmpeg needed)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gi
import numpy as np
import numpy.typing as npt

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import Gst, GstApp  # noqa: E402

from stream.frame import NS_PER_S  # noqa: E402

assert GstApp  # gives appsrc its methods

Picture = npt.NDArray[np.uint8]

ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast qp-min=1 qp-max=10 key-int-max=25 ! h264parse",
    # The encoder's usual setting, with pictures out of order.
    "h264-b": "x264enc bframes=3 b-adapt=false speed-preset=veryfast key-int-max=25 ! h264parse",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h265parse",
    "mjpeg": "jpegenc quality=95 ! jpegparse",
    "raw": "identity",
}
MUXERS = {
    ".avi": "avimux",
    ".h264": "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au",
    ".mkv": "matroskamux",
    ".mp4": "mp4mux",
    ".ts": "h264parse ! mpegtsmux",
}


def flat(width: int, height: int, luma: int, u: int = 128, v: int = 128) -> Picture:
    """One picture of one colour, I420 as GStreamer packs it: rows padded to four bytes with black and green."""
    planes = [(width, height, luma), (width // 2, height // 2, u), (width // 2, height // 2, v)]
    rows = [np.zeros((h, -w % 4 + w), np.uint8) for w, h, _ in planes]
    for plane, (w, _, value) in zip(rows, planes, strict=True):
        plane[:, :w] = value
    return np.concatenate([plane.ravel() for plane in rows])


def write_video(
    path: Path,
    pictures: Iterable[Picture],
    width: int,
    height: int,
    fps: int = 25,
    codec: str = "h264",
    pts_ns: Iterable[int] | None = None,
) -> Path:
    """Encode I420 pictures; pts_ns: their times, or None for `fps` of them a second."""
    caps = f"video/x-raw,format=I420,width={width},height={height},framerate={fps}/1"
    times = iter(pts_ns) if pts_ns is not None else (n * NS_PER_S // fps for n in itertools.count())
    samples = (sample(picture, next(times), NS_PER_S // fps, caps) for picture in pictures)
    return encode(path, ENCODERS[codec], samples)


def sample(picture: Picture, pts_ns: int, duration_ns: int, caps: str) -> Any:
    """One picture as GStreamer takes it."""
    Gst.init(None)
    buffer = Gst.Buffer.new_wrapped(picture.tobytes())
    buffer.pts, buffer.duration = pts_ns, duration_ns
    return Gst.Sample.new(buffer, Gst.Caps.from_string(caps), None, None)


def encode(path: Path, encoder: str, samples: Iterable[Any]) -> Path:
    """The suffix names the container; .h264 is Annex B. encoder: a piece of a GStreamer pipeline."""
    Gst.init(None)
    pipeline = Gst.parse_launch(
        f"appsrc name=source format=time ! {encoder} ! {MUXERS[path.suffix]} ! filesink name=file"
    )
    source = pipeline.get_by_name("source")
    pipeline.get_by_name("file").set_property("location", str(path))
    pipeline.set_state(Gst.State.PLAYING)
    try:
        for picture in samples:
            source.push_sample(picture)
        source.end_of_stream()
        wanted = Gst.MessageType.EOS | Gst.MessageType.ERROR
        message = pipeline.get_bus().timed_pop_filtered(30 * Gst.SECOND, wanted)
        assert message is not None, f"encoding {path.name} took too long"
        assert message.type == Gst.MessageType.EOS, message.parse_error()
    finally:
        pipeline.set_state(Gst.State.NULL)
    return path
