"""What travels from camera to network: pixels, and never without their time.

`Frame` is one decoded picture, `Window` the small pictures of one recognition stream that the network
sees in one call. Times are integers in nanoseconds; which clock they belong to is part of every name:
`pts_ns` is the stream's own clock, `arrival_ns` this machine's monotonic clock, `utc_ns` nanoseconds
since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

NS_PER_S = 1_000_000_000

PlaneArray = npt.NDArray[np.uint8]


class ClockSource(StrEnum):
    """Where a UTC time comes from: the camera's RTCP sender reports, or the moment of arrival here."""

    RTCP = "rtcp"
    ARRIVAL = "arrival"


class StreamKey(NamedTuple):
    """One recognition stream: a zone of a camera."""

    camera: str
    zone: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture as planes of Y'CbCr 4:2:0 (I420), with its times.

    y: uint8 [h, w]; u, v: uint8 [ceil(h/2), ceil(w/2)]. The planes may be read-only views into a decoder's
    buffer, which is kept for as long as the frame is: hold a few frames, not many.
    full_range: luma uses 0..255 (JPEG) rather than 16..235 (video).
    """

    y: PlaneArray
    u: PlaneArray
    v: PlaneArray
    pts_ns: int
    arrival_ns: int
    utc_ns: int
    clock: ClockSource
    full_range: bool = False

    @property
    def height(self) -> int:
        return int(self.y.shape[0])

    @property
    def width(self) -> int:
        return int(self.y.shape[1])


@dataclass(frozen=True, slots=True)
class Window:
    """T consecutive ticks of one recognition stream: what the network is given in one call.

    pictures: uint8 [T, H*3//2, W], small letterboxed I420 pictures, video range; the luma is
    `pictures[:, :H]`. Chroma is filled only on the ticks whose picture the network's modality uses.
    pts_ns: int64 [T], PTS of the frame that each tick took; a repeated tick has its origin's PTS.
    utc_offset_ns: UTC minus PTS at the window's last frame. arrival_ns: monotonic, last frame.
    """

    stream: StreamKey
    epoch: int
    index: int
    pictures: PlaneArray
    pts_ns: npt.NDArray[np.int64]
    arrival_ns: int
    utc_offset_ns: int
    clock: ClockSource
