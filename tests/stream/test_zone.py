from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.frame import ClockSource, Frame
from stream.zone import FULL, Rect, Zone, ZoneError, ZoneScaler, letterbox, to_rgb

Plane = npt.NDArray[np.uint8]


def frame_of(y: Plane, u: Plane, v: Plane, full_range: bool = False) -> Frame:
    return Frame(y, u, v, 0, 0, 0, ClockSource.ARRIVAL, full_range)


def flat(height: int, width: int, yuv: tuple[int, int, int], full_range: bool = False) -> Frame:
    half = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = (np.full(shape, value, np.uint8) for shape, value in zip(((height, width), half, half), yuv, strict=True))
    return frame_of(y, u, v, full_range)


def scaled(frame: Frame, zone: Zone = FULL, size: int = 80, chroma: bool = True) -> Plane:
    out = np.full((size * 3 // 2, size), 77, np.uint8)
    ZoneScaler(zone, frame.height, frame.width, size, size).scale(frame, out, chroma)
    return out


def test_fractions_and_pixels_name_the_same_rectangle() -> None:
    fraction = Zone(0.25, 0.5, 0.5, 0.5)
    pixel = Zone(160, 180, 320, 180, unit="pixel")
    assert fraction.rect(360, 640) == pixel.rect(360, 640) == Rect(160, 180, 480, 360)


def test_edges_move_outward_to_even_pixels() -> None:
    assert Zone(3, 5, 10, 10, unit="pixel").rect(100, 100) == Rect(2, 4, 14, 16)


def test_an_odd_picture_keeps_its_last_column() -> None:
    assert FULL.rect(241, 321) == Rect(0, 0, 321, 241)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((0, 0, 0, 1), "empty"),
        ((0, 0, 1, float("nan")), "empty"),
        ((-0.1, 0, 0.5, 0.5), "starts outside"),
        ((0.6, 0, 0.5, 0.5), "at most 1"),
    ],
)
def test_a_zone_that_can_never_be_right_is_refused_at_once(args: tuple[float, ...], message: str) -> None:
    with pytest.raises(ZoneError, match=message):
        Zone(*args)


def test_a_zone_outside_the_picture_is_refused_with_both_sizes() -> None:
    with pytest.raises(ZoneError, match=r"x 600, y 0, width 100, height 50 px.*640x360"):
        ZoneScaler(Zone(600, 0, 100, 50, unit="pixel"), 360, 640, 80, 80)


@settings(deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000))
def test_letterbox_keeps_the_shape_and_even_edges(height: int, width: int) -> None:
    rect = letterbox(height, width, 80, 112)
    assert all(edge % 2 == 0 for edge in rect)
    assert rect.left >= 0
    assert rect.top >= 0
    assert rect.right <= 112
    assert rect.bottom <= 80
    scale = min(80 / height, 112 / width)
    assert abs(rect.width - width * scale) <= 2
    assert abs(rect.height - height * scale) <= 2
    assert abs(rect.left - (112 - rect.right)) <= 2
    assert abs(rect.top - (80 - rect.bottom)) <= 2


def test_the_border_is_black_and_the_content_is_the_picture() -> None:
    out = scaled(flat(360, 640, (200, 90, 160)))
    luma, u, v = out[:80], out[80:100].reshape(40, 40), out[100:].reshape(40, 40)
    assert (luma[18:62] == 200).all()
    assert (luma[:18] == 16).all()
    assert (luma[62:] == 16).all()
    assert (u[9:31] == 90).all()
    assert (u[:9] == 128).all()
    assert (v[9:31] == 160).all()
    assert (v[31:] == 128).all()


def test_without_chroma_only_the_colours_are_missing() -> None:
    frame = flat(360, 640, (200, 90, 160))
    with_colours, without = scaled(frame), scaled(frame, chroma=False)
    assert (with_colours[:80] == without[:80]).all()
    assert (without[80:] == 128).all()


def test_full_range_is_mapped_to_video_range() -> None:
    white, black = scaled(flat(80, 80, (255, 255, 0), True)), scaled(flat(80, 80, (0, 128, 128), True))
    assert (white[:80] == 235).all()
    assert (white[80:100] == 240).all()
    assert (white[100:] == 16).all()
    assert (black[:80] == 16).all()
    assert (black[80:] == 128).all()


def test_shrinking_averages_and_keeps_what_the_zone_shows() -> None:
    y = np.zeros((160, 160), np.uint8)
    y[::2] = 200  # stripes finer than the small picture can show
    y[:, 80:] = 50
    half = np.full((80, 80), 128, np.uint8)
    out = scaled(frame_of(y, half, half))
    assert (out[:80, :40] == 100).all()
    assert (out[:80, 40:] == 50).all()
    right = scaled(frame_of(y, half, half), Zone(0.5, 0, 0.5, 1))
    assert (right[:80, 20:60] == 50).all()


@pytest.mark.parametrize(("height", "width"), [(360, 640), (576, 768), (1080, 1920), (722, 1282), (144, 180)])
def test_scaling_in_steps_is_area_scaling(height: int, width: int) -> None:
    noise = np.random.default_rng(0).random((height, width))
    y = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 16, 235, cv2.NORM_MINMAX).astype(np.uint8)
    half = np.full((height // 2, width // 2), 128, np.uint8)
    scaler = ZoneScaler(FULL, height, width, 80, 80)
    content = scaler.content
    out = np.empty((120, 80), np.uint8)
    scaler.scale(frame_of(y, half, half), out, False)
    direct = cv2.resize(y, (content.width, content.height), interpolation=cv2.INTER_AREA)
    off = out[content.top : content.bottom, content.left : content.right].astype(int) - direct
    assert np.abs(off).mean() < 1
    assert abs(off.mean()) < 0.5


def test_a_small_zone_is_enlarged_smoothly() -> None:
    y = np.repeat(np.arange(0, 160, 4, dtype=np.uint8)[None], 40, axis=0)
    half = np.full((20, 20), 128, np.uint8)
    row = scaled(frame_of(y, half, half))[40].astype(int)
    assert np.diff(row).max() <= 3, "no pixel is repeated in blocks"


@pytest.mark.parametrize(("height", "width"), [(241, 321), (1, 1), (3, 500), (1080, 1920), (79, 81)])
def test_every_size_of_picture_is_scaled(height: int, width: int) -> None:
    out = scaled(flat(height, width, (180, 100, 140)))
    assert (out[:80] == 180).any()
    assert set(np.unique(out[:80])) <= {16, 180}


def test_planes_with_padding_are_read_where_they_lie() -> None:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (144, 256), np.uint8)
    u, v = rng.integers(0, 255, (72, 128), np.uint8), rng.integers(0, 255, (72, 128), np.uint8)
    views = frame_of(wide[:, :180], u[:, :90], v[:, :90])
    copies = frame_of(views.y.copy(), views.u.copy(), views.v.copy())
    assert (scaled(views) == scaled(copies)).all()


def test_rgb_of_the_small_picture_is_the_picture() -> None:
    rgb = np.zeros((160, 160, 3), np.uint8)
    rgb[:, :80] = (200, 40, 30)
    rgb[:, 80:] = (20, 90, 210)
    i420 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    u, v = i420[160:200].reshape(80, 80), i420[200:].reshape(80, 80)
    small = to_rgb(scaled(frame_of(i420[:160], u, v)))
    assert small.shape == (80, 80, 3)
    assert np.abs(small[:, :38].astype(int) - (200, 40, 30)).max() <= 4
    assert np.abs(small[:, 42:].astype(int) - (20, 90, 210)).max() <= 4


def test_a_wrong_frame_or_buffer_is_refused() -> None:
    scaler = ZoneScaler(FULL, 360, 640, 80, 80)
    with pytest.raises(ValueError, match="scaler was made for"):
        scaler.scale(flat(240, 320, (0, 0, 0)), np.empty((120, 80), np.uint8), True)
    with pytest.raises(ValueError, match="C-contiguous"):
        scaler.scale(flat(360, 640, (0, 0, 0)), np.empty((120, 160), np.uint8)[:, ::2], True)
    with pytest.raises(ValueError, match="even"):
        ZoneScaler(FULL, 360, 640, 81, 80)
