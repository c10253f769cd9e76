"""Video files for tests, encoded by GStreamer: pictures of any sizes at any times."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import Gst, GstApp  # noqa: E402

_ = GstApp  # gives appsrc its methods

_MUXERS = {".mkv": "matroskamux", ".mp4": "mp4mux", ".ts": "h264parse ! mpegtsmux"}


class Picture(NamedTuple):
    """One grey, with a bright square that walks. pts_s: seconds; size: (width, height)."""

    pts_s: float
    size: tuple[int, int] = (160, 120)


def steady(seconds: float, fps: float, start_s: float = 0.0, size: tuple[int, int] = (160, 120)) -> list[Picture]:
    return [Picture(start_s + n / fps, size) for n in range(round(seconds * fps))]


def write_video(path: Path, pictures: Iterable[Picture]) -> Path:
    """H.264 without reordering, a key frame every ten pictures. The file's kind is that of its name."""
    Gst.init(None)
    encoder = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10"
    pipeline = Gst.parse_launch(
        f"appsrc name=source format=time ! {encoder} ! {_MUXERS[path.suffix]} ! filesink location={path}"
    )
    source = pipeline.get_by_name("source")
    pipeline.set_state(Gst.State.PLAYING)
    try:
        for n, picture in enumerate(pictures):
            source.push_sample(_sample(n, picture))
        source.end_of_stream()
        wanted = Gst.MessageType.EOS | Gst.MessageType.ERROR
        message = pipeline.get_bus().timed_pop_filtered(30 * Gst.SECOND, wanted)
        assert message is not None, f"{path}: not finished"
        assert message.type == Gst.MessageType.EOS, message.parse_error()
    finally:
        pipeline.set_state(Gst.State.NULL)
    return path


def _sample(n: int, picture: Picture) -> Any:
    width, height = picture.size
    data = np.full((height * 3 // 2, width), 128, np.uint8)
    data[:height] = 60
    at = 4 * n % (width - 16)
    data[height // 2 : height // 2 + 16, at : at + 16] = 220
    buffer = Gst.Buffer.new_wrapped(data.tobytes())
    buffer.pts = round(picture.pts_s * Gst.SECOND)
    buffer.duration = Gst.SECOND // 30  # without one, mp4mux makes a last picture that players drop
    caps = f"video/x-raw,format=I420,width={width},height={height},framerate=0/1"
    return Gst.Sample.new(buffer, Gst.Caps.from_string(caps), None, None)
