"""Writes drawn footage as H.264 in MP4, by GStreamer: real files to test with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stream.demo.figure import Canvas
from stream.demo.scene import Segments, sequence
from stream.demo.schedule import Span
from stream.frame import NS_PER_S
from stream.gstreamer import Gst

_PATIENCE_NS = 30 * NS_PER_S  # for the last frame to reach the disk


class RecordError(RuntimeError):
    """The file could not be written."""


def render_mp4(
    path: str | Path, segments: Segments, *, seed: int = 0, fps: float = 15.0, width: int = 320, height: int = 240
) -> list[Span]:
    """Draws `segments` (see stream.demo.scene.sequence) into an MP4 file and returns what is seen when.

    Raises RecordError, and ValueError for unknown labels or an odd size.
    """
    frames, labels = sequence(np.random.default_rng(seed), segments, fps, width=width, height=height)
    write_mp4(path, frames, fps)
    return _spans(labels, fps)


def write_mp4(
    path: str | Path,
    frames: Iterable[Canvas],
    fps: float,
    *,
    bitrate_kbit: int = 1500,
    speed_preset: str = "ultrafast",
) -> int:
    """Encodes frames, uint8 [height, width, 3] RGB, as H.264 in MP4; returns how many. Both sizes must be even.

    A key frame every 2 s, no B-frames. speed_preset: x264's. Raises RecordError and ValueError.
    """
    Gst.init(None)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError(f"no frames to write to {path}")
    height, width = first.shape[:2]
    if width % 2 or height % 2:
        raise ValueError(f"H.264 wants even sizes, not {width}x{height}")
    pipeline = Gst.parse_launch(
        "appsrc name=in format=time block=true max-bytes=8000000 ! videoconvert ! video/x-raw,format=I420 ! "
        + encoder(fps, bitrate_kbit, speed_preset)
    )
    source = pipeline.get_by_name("in")
    numerator, denominator = _rational(fps)
    source.set_property(
        "caps",
        Gst.Caps.from_string(
            f"video/x-raw,format=RGBx,width={width},height={height},framerate={numerator}/{denominator}"
        ),
    )
    pipeline.get_by_name("out").set_property("location", str(path))
    bus = pipeline.get_bus()
    try:
        if pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
            raise RecordError(f"cannot write {path}: {_reason(bus) or 'the encoder does not start'}")
        count = 0
        for picture in _chain(first, iterator):
            if picture.shape[:2] != (height, width):
                raise ValueError(f"frame {count} is {picture.shape[1]}x{picture.shape[0]}, not {width}x{height}")
            # Four bytes a pixel: GStreamer pads rows of three to a multiple of four.
            buffer = Gst.Buffer.new_wrapped(cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA).tobytes())
            buffer.pts = count * NS_PER_S * denominator // numerator
            buffer.duration = NS_PER_S * denominator // numerator
            if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                raise RecordError(f"cannot write {path}: {_reason(bus) or 'the encoder stopped'}")
            count += 1
        source.emit("end-of-stream")
        message = bus.timed_pop_filtered(_PATIENCE_NS, Gst.MessageType.EOS | Gst.MessageType.ERROR)
        if message is None or message.type == Gst.MessageType.ERROR:
            reason = message.parse_error()[0].message if message else "the encoder did not finish in 30 s"
            raise RecordError(f"cannot write {path}: {reason}")
        return count
    finally:
        pipeline.set_state(Gst.State.NULL)


def encoder(fps: float, bitrate_kbit: int, speed_preset: str) -> str:
    """GStreamer elements from I420 pictures to a file named `out`, see `write_mp4`."""
    return (
        f"x264enc tune=zerolatency speed-preset={speed_preset} threads=1 bitrate={bitrate_kbit} "
        f"key-int-max={max(1, round(2 * fps))} ! h264parse ! mp4mux ! filesink name=out"
    )


def _chain(first: Canvas, rest: Iterable[Canvas]) -> Iterable[Canvas]:
    yield first
    yield from rest


def _rational(fps: float) -> tuple[int, int]:
    return (round(fps), 1) if float(fps).is_integer() else (round(fps * 1000), 1000)


def _reason(bus: Any) -> str:
    message = bus.pop_filtered(Gst.MessageType.ERROR)
    return str(message.parse_error()[0].message) if message else ""


def _spans(labels: list[str], fps: float) -> list[Span]:
    spans: list[Span] = []
    for index, label in enumerate(labels):
        if spans and spans[-1].label == label:
            spans[-1] = spans[-1]._replace(end_s=(index + 1) / fps)
        else:
            spans.append(Span(label, index / fps, (index + 1) / fps))
    return spans
