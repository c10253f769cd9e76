"""Zone: a rectangle of the camera's picture, and the small letterboxed picture that the network sees of it.

Scaling is the dearest step after decoding, so it happens once per sampled frame and reads the decoder's
planes where they lie. INTER_AREA by any factor takes OpenCV's slow path (0.45 ms for the luma of 640x360);
by exactly 2 it is vectorised, so a large plane is halved first: 0.11 ms, with a mean difference of a tenth
of a grey level. What comes out is a small I420 picture, uint8 [H*3//2, W], in
video range: luma `[:H]`, then the U and V planes of [H/2, W/2].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from stream.frame import Frame, PlaneArray

BLACK_LUMA = 16
GREY_CHROMA = 128

# Full range (JPEG) to video range, ITU-R BT.601: luma 0..255 -> 16..235, chroma 0..255 -> 16..240.
_LEVELS = np.arange(256, dtype=np.float64)
_LUMA_TO_VIDEO: PlaneArray = np.rint(16 + _LEVELS * 219 / 255).astype(np.uint8)
_CHROMA_TO_VIDEO: PlaneArray = np.rint(128 + (_LEVELS - 128) * 224 / 255).astype(np.uint8)


class ZoneError(ValueError):
    """A zone that is no rectangle, or not inside the camera's picture."""


class Rect(NamedTuple):
    """A rectangle in whole pixels, half open: rows top..bottom-1, columns left..right-1."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class Zone:
    """A rectangle of the source picture, in fractions of its sides (0..1) or in its pixels."""

    x: float
    y: float
    width: float
    height: float
    unit: Literal["fraction", "pixel"] = "fraction"

    def __post_init__(self) -> None:
        if not (self.width > 0 and self.height > 0):
            raise ZoneError(f"{self} is empty: give a width and a height above 0")
        if not (self.x >= 0 and self.y >= 0):
            raise ZoneError(f"{self} starts outside the picture: x and y count from 0 at its top left corner")
        # A hair above 1 is rounding (0.7 + 0.3), not a mistake.
        if self.unit == "fraction" and max(self.x + self.width, self.y + self.height) > 1 + 1e-9:
            raise ZoneError(f"{self} reaches outside the picture: x + width and y + height may be at most 1")

    def __str__(self) -> str:
        unit = "px" if self.unit == "pixel" else "of the picture"
        return f"zone (x {self.x:g}, y {self.y:g}, width {self.width:g}, height {self.height:g} {unit})"

    def rect(self, height: int, width: int) -> Rect:
        """This zone in whole pixels of a picture of height x width.

        Edges are moved outward to even pixels, so that luma and chroma are cut at the same place.
        Raises ZoneError where the zone is not inside the picture.
        """
        sx, sy = (width, height) if self.unit == "fraction" else (1, 1)
        left, top = round(self.x * sx), round(self.y * sy)
        right, bottom = round((self.x + self.width) * sx), round((self.y + self.height) * sy)
        if right > width or bottom > height:
            raise ZoneError(f"{self} reaches outside the camera's {width}x{height} picture")
        left, top = min(left, width - 1) & ~1, min(top, height - 1) & ~1
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        return Rect(left, top, min(right + right % 2, width), min(bottom + bottom % 2, height))


FULL = Zone(0, 0, 1, 1)


def letterbox(source_height: int, source_width: int, height: int, width: int) -> Rect:
    """Where a source picture lies in one of height x width when its shape is kept; all edges even."""
    scale = min(height / source_height, width / source_width)
    content_w = min(max(2 * round(source_width * scale / 2), 2), width)
    content_h = min(max(2 * round(source_height * scale / 2), 2), height)
    left, top = (width - content_w) // 4 * 2, (height - content_h) // 4 * 2
    return Rect(left, top, left + content_w, top + content_h)


class ZoneScaler:
    """Scales one zone of a camera's frames to the network's picture size.

    zone: what to cut out; height, width: of the camera's frames; spec_height, spec_width: of the small
    picture, both even. A camera that changes its size needs a new scaler. One thread uses it, as it keeps
    working memory. Raises ZoneError.
    """

    def __init__(self, zone: Zone, height: int, width: int, spec_height: int, spec_width: int) -> None:
        if spec_height % 2 or spec_width % 2:
            raise ValueError(f"small picture of {spec_width}x{spec_height}: both sides must be even")
        self.source = (height, width)
        self.shape = (spec_height * 3 // 2, spec_width)
        self.rect = zone.rect(height, width)
        self.content = letterbox(self.rect.height, self.rect.width, spec_height, spec_width)
        self._spec_height = spec_height
        self._luma = _PlaneScaler(self.rect, self.content)
        self._chroma = _PlaneScaler(_halved(self.rect), _halved(self.content))

    def scale(self, frame: Frame, out: PlaneArray, chroma: bool) -> None:
        """Write the zone of `frame` into `out`, uint8 [H*3//2, W], C-contiguous.

        chroma: scale U and V too; where a tick's picture is no input of the network, only its luma is
        needed (for the flow), and the colours are left grey.
        """
        if (frame.height, frame.width) != self.source:
            raise ValueError(f"frame is {frame.width}x{frame.height}, scaler was made for {self.source[::-1]}")
        if out.shape != self.shape or not out.flags.c_contiguous:
            raise ValueError(f"out must be C-contiguous of shape {self.shape}, not {out.shape}")
        luma = out[: self._spec_height]
        luma.fill(BLACK_LUMA)
        self._luma.scale(frame.y, luma, _LUMA_TO_VIDEO if frame.full_range else None)
        colours = out[self._spec_height :].reshape(2, self._spec_height // 2, self.shape[1] // 2)
        colours.fill(GREY_CHROMA)
        if chroma:
            for plane, small in zip((frame.u, frame.v), colours, strict=True):
                self._chroma.scale(plane, small, _CHROMA_TO_VIDEO if frame.full_range else None)


def _halved(rect: Rect) -> Rect:
    """The same rectangle in a chroma plane; an odd far edge is the picture's own, whose last sample counts."""
    return Rect(rect.left // 2, rect.top // 2, (rect.right + 1) // 2, (rect.bottom + 1) // 2)


class _PlaneScaler:
    """Cuts one plane to `source` and scales it into `content` of a small plane; keeps its working memory."""

    def __init__(self, source: Rect, content: Rect) -> None:
        self._source = source
        self._content = content
        self._halves: list[PlaneArray] = []
        height, width = source.height, source.width
        # An odd side cannot be halved exactly. The last step still shrinks by 3 or more, so that halves which straddle
        # two of its pixels weigh little (0.45 grey levels on average from 640x360 to 96x54).
        while not (height % 2 or width % 2) and height >= 6 * content.height and width >= 6 * content.width:
            height, width = height // 2, width // 2
            self._halves.append(np.empty((height, width), np.uint8))
        shrinks = content.width <= width and content.height <= height
        # INTER_AREA averages when it shrinks; when it enlarges it repeats pixels, which makes false motion.
        self._interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR

    def scale(self, plane: PlaneArray, small: PlaneArray, levels: PlaneArray | None) -> None:
        source, content = self._source, self._content
        cut = plane[source.top : source.bottom, source.left : source.right]
        for half in self._halves:
            cut = cv2.resize(cut, half.shape[::-1], dst=half, interpolation=cv2.INTER_AREA)
        target = small[content.top : content.bottom, content.left : content.right]
        cv2.resize(cut, (content.width, content.height), dst=target, interpolation=self._interpolation)
        if levels is not None:  # on the small picture: a hundredth of the pixels
            cv2.LUT(target, levels, dst=target)


def to_rgb(small: PlaneArray) -> npt.NDArray[np.uint8]:
    """RGB, uint8 [H, W, 3], of a small I420 picture, uint8 [H*3//2, W], video range (BT.601)."""
    rgb: npt.NDArray[np.uint8] = cv2.cvtColor(small, cv2.COLOR_YUV2RGB_I420)
    return rgb
