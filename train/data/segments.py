"""Segments: stretches of small pictures in which one thing happens, made from real clips.

A segment goes through the live code: a camera of random speed films the clip, `ClipSampler`'s rule picks the
frames, `ZoneScaler` scales them (the random crop is a random zone), and whoever computes flow computes it from
the result. So a mirrored picture needs no special case for flow: it is mirrored before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from engine.spec import ModelSpec
from stream.frame import ClockSource, Frame
from stream.zone import Zone, ZoneScaler
from train.data.background import with_scene
from train.data.clips import ClipRef, Footage

U8 = npt.NDArray[np.uint8]
DRAWN = ClipRef(Path("drawn"), "", "drawn")


class Segment(NamedTuple):
    """pictures: uint8 [n, H*3//2, W] small I420. offset_s: float64 [n], PTS minus the tick's own time."""

    pictures: U8
    offset_s: npt.NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """How a segment's camera sees the scene: a random zone, mirrored or not, darker or brighter."""

    flip: bool
    pad: float  # border added round the picture, as a share of its size, so that a person can be small
    left: float
    top: float
    width: float
    height: float
    gain: float
    bias: float
    chroma_gain: float
    chroma_shift: tuple[float, float]
    noise: float
    blur: float


def random_view(rng: np.random.Generator, strength: float = 1.0) -> View:
    """A view; strength 0 is the plain full picture."""
    zoom = 1 - strength * rng.uniform(0.0, 0.3)
    aspect = float(np.exp(strength * rng.normal(0, 0.08)))
    pad = strength * float(rng.uniform(0, 0.2)) * (rng.random() < 0.4)
    width, height = min(1.0, zoom * aspect), min(1.0, zoom / aspect)
    return View(
        flip=bool(rng.random() < 0.5),
        pad=pad,
        left=float(rng.uniform(0, 1 - width)),
        top=float(rng.uniform(0, 1 - height)),
        width=width,
        height=height,
        gain=float(np.exp(strength * rng.normal(0, 0.2))),
        bias=float(strength * rng.normal(0, 12)),
        chroma_gain=float(rng.uniform(0.0, 1.5)) if strength else 1.0,
        chroma_shift=(float(strength * rng.normal(0, 5)), float(strength * rng.normal(0, 5))),
        noise=float(strength * abs(rng.normal(0, 2.0))),
        blur=float(strength * rng.uniform(0, 0.8)) if rng.random() < 0.3 else 0.0,
    )


def camera_offsets(rng: np.random.Generator, ticks: int, rate_hz: float, fps: float) -> npt.NDArray[np.float64]:
    """Offset of the nearest frame's PTS to each tick, for a camera of `fps` with a random phase. [ticks], seconds."""
    tick_s = np.arange(ticks) / rate_hz
    phase = rng.uniform(0, 1 / fps)
    return np.asarray(np.round((tick_s - phase) * fps) / fps + phase - tick_s)


def film(spec: ModelSpec, footage: Footage, index: npt.NDArray[np.int64], view: View) -> U8:
    """Frames `index` [n] of a clip as small pictures, uint8 [n, H*3//2, W], through the live scaler."""
    pad_y, pad_x = (int(view.pad * size / 2) // 2 * 2 for size in footage.y.shape[1:])
    h, w = footage.y.shape[1] + 2 * pad_y, footage.y.shape[2] + 2 * pad_x
    zone = Zone(x=view.left, y=view.top, width=view.width, height=view.height)
    scaler = ZoneScaler(zone, h, w, spec.height, spec.width)
    out = np.empty((len(index), spec.height * 3 // 2, spec.width), np.uint8)
    step = -1 if view.flip else 1
    last = -1
    for row, i in enumerate(index):
        if i == last:
            out[row] = out[row - 1]
            continue
        last = i
        planes = (footage.y[i][:, ::step], footage.u[i][:, ::step], footage.v[i][:, ::step])
        y, u, v = (
            cv2.copyMakeBorder(np.ascontiguousarray(p), py, py, px, px, cv2.BORDER_REPLICATE)
            for p, py, px in zip(planes, (pad_y, pad_y // 2, pad_y // 2), (pad_x, pad_x // 2, pad_x // 2), strict=True)
        )
        frame = Frame(y, u, v, 0, 0, 0, ClockSource.ARRIVAL, footage.full_range)
        scaler.scale(frame, out[row], chroma=True)
    return out


def grade(rng: np.random.Generator, pictures: U8, view: View) -> U8:
    """Light, colour, sensor noise and blur of a view, on small pictures [n, H*3//2, W]."""
    h = pictures.shape[1] * 2 // 3
    planes = np.array(pictures, np.float32, order="C")
    luma, chroma = planes[:, :h], planes[:, h:]
    if view.blur > 0.2:
        for picture in luma:
            cv2.GaussianBlur(picture, (0, 0), view.blur, dst=picture)
    luma[:] = (luma - 126) * view.gain + 126 + view.bias
    if view.noise > 0.2:
        luma += rng.standard_normal(luma.shape, np.float32) * view.noise
    half = chroma.shape[1] // 2
    for plane, shift in zip((chroma[:, :half], chroma[:, half:]), view.chroma_shift, strict=True):
        plane[:] = (plane - 128) * view.chroma_gain + 128 + shift
    np.clip(luma, 16, 235, out=luma)
    np.clip(chroma, 16, 240, out=chroma)
    return planes.astype(np.uint8)


def action(
    rng: np.random.Generator,
    spec: ModelSpec,
    footage: Footage,
    ticks: int,
    view: View,
    stretch: float,
    scene: U8 | None = None,
    whole: bool = False,
) -> Segment:
    """`ticks` ticks of a clip from a random point on, from its start again at its end, 1/stretch times as fast.

    scene: a small ungraded picture [H*3//2, W] that is to surround what moves. whole: without a cut, as one is movement
    that no clip shows: from a point from which the clip is long enough, and where none is, to its end and back.
    """
    fps = footage.fps / stretch
    offset = camera_offsets(rng, ticks, spec.rate_hz, fps)
    tick_s = np.arange(ticks) / spec.rate_hz
    frame = np.round((tick_s + offset) * fps - (offset[0] * fps)).astype(np.int64)
    count = len(footage.y)
    if whole:
        start = int(rng.integers(max(1, count - int(frame[-1]))))
        there = (start + frame) % (2 * count - 2)
        index = np.where(there < count, there, 2 * count - 2 - there)
    else:
        start = int(rng.integers(count)) if rng.random() < 0.7 else 0
        index = (start + frame) % count
    pictures = film(spec, footage, index, view)
    if scene is not None:
        pictures = with_scene(rng, pictures, scene)
    return Segment(grade(rng, pictures, view), offset)


def still(rng: np.random.Generator, spec: ModelSpec, picture: U8, ticks: int, view: View) -> Segment:
    """A small ungraded picture [H*3//2, W] held for `ticks`, its noise alive and, half the time, its light changing."""
    pictures: U8 = np.broadcast_to(picture, (ticks, *picture.shape))
    if rng.random() < 0.5:
        pictures = relight(rng, pictures, spec.rate_hz)
    return Segment(grade(rng, pictures, view), camera_offsets(rng, ticks, spec.rate_hz, 25.0))


def relight(rng: np.random.Generator, pictures: U8, rate_hz: float) -> U8:
    """Lamps switched, clouds, flicker: small pictures [n, H*3//2, W] under a light that changes with time.

    The light also has a side: it falls off across the picture, as a lamp's or a window's does.
    """
    n, h, w = len(pictures), pictures.shape[1] * 2 // 3, pictures.shape[2]
    t = np.arange(n) / rate_hz
    kind = rng.random()
    if kind < 0.4:  # switched on or off, at once or as a tube starts
        level = 1 / (1 + np.exp(-(t - rng.uniform(0, t[-1] + 0.1)) * rng.choice([8.0, 60.0]) * rng.choice([-1, 1])))
    elif kind < 0.7:  # clouds: slow
        level = np.sin(2 * np.pi * (t * rng.uniform(0.1, 0.6) + rng.uniform()))
    else:  # flicker
        level = np.sin(2 * np.pi * (t * rng.uniform(1.5, 6.0) + rng.uniform())) + rng.normal(0, 0.3, n)
    angle = rng.uniform(0, 2 * np.pi)
    side = np.cos(angle) * np.linspace(-1, 1, w)[None] + np.sin(angle) * np.linspace(-1, 1, h)[:, None]
    fall = np.clip(1 + rng.uniform(0, 1) * side, 0, 2).astype(np.float32)
    gain = 1 + (rng.uniform(0.05, 0.5) * level.astype(np.float32))[:, None, None] * fall
    out = pictures.copy()
    out[:, :h] = np.clip((pictures[:, :h].astype(np.float32) - 16) * gain + 16, 16, 235).astype(np.uint8)
    return out


def snow(rng: np.random.Generator, spec: ModelSpec, ticks: int, view: View) -> Segment:
    """Nothing but noise, of any grain: what a camera without a signal, or at night, sends."""
    h, w, grain = spec.height, spec.width, int(rng.integers(1, 9))
    rows, columns = -(-h // grain), -(-w // grain)
    luma = rng.normal(rng.uniform(30, 200), rng.uniform(3, 80), (ticks, rows, columns)).astype(np.float32)
    pictures = np.full((ticks, h * 3 // 2, w), 128, np.uint8)
    for picture, noise in zip(pictures, np.clip(luma, 16, 235), strict=True):
        picture[:h] = cv2.resize(noise, (w, h), interpolation=cv2.INTER_LINEAR)
    return Segment(grade(rng, pictures, view), camera_offsets(rng, ticks, spec.rate_hz, 25.0))


def passing(rng: np.random.Generator, spec: ModelSpec, scene: U8, other: U8, ticks: int, view: View) -> Segment:
    """A piece of another picture comes into a still scene, stays a moment and goes, again and again.

    What moves is not yet a person who acts: hands, things that are carried, somebody's shoulder. scene, other:
    ungraded small pictures [H*3//2, W].
    """
    h, w = spec.height, spec.width
    size = rng.uniform(0.08, 0.4) * w
    target = np.array([rng.uniform(0, w), rng.uniform(0, h)])
    angle = rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(angle), np.sin(angle)]) * (w + size)
    other = other.copy()
    other[:h] = np.clip(other[:h] + rng.normal(0, 40), 16, 235)  # pieces of plain walls must be seen, too
    mask = np.zeros((h, w), np.float32)
    limb = rng.random() < 0.6  # reaches back over the border, as an arm does
    tip = tuple(int(v) for v in target)
    if limb:
        cv2.line(mask, tip, tuple(int(v) for v in target + away), 1.0, max(2, int(size * 0.5)))
    cv2.ellipse(
        mask, tip, (int(size * 0.4) + 1, int(size * rng.uniform(0.3, 0.9)) + 1), rng.uniform(0, 180), 0, 360, 1.0, -1
    )
    cv2.GaussianBlur(mask, (0, 0), 0.7, dst=mask)
    pictures = np.empty((ticks, *scene.shape), np.uint8)
    period, move_s, stay_s, phase = rng.uniform(2, 5), rng.uniform(0.3, 1.2), rng.uniform(0, 1), rng.uniform(0, 5)
    for tick, t in enumerate((np.arange(ticks) / spec.rate_hz + phase) % period):
        share = min(t / move_s, 1.0) - min(max((t - move_s - stay_s) / move_s, 0.0), 1.0)  # 1: at the target
        shift = away * (0.5 + 0.5 * np.cos(np.pi * share))
        pictures[tick] = _laid_over(scene, other, mask, shift)
    return Segment(grade(rng, pictures, view), camera_offsets(rng, ticks, spec.rate_hz, 25.0))


def _laid_over(scene: U8, other: U8, mask: npt.NDArray[np.float32], shift: npt.NDArray[np.float64]) -> U8:
    """`scene` with the part of `other` under `mask` [H, W], both moved by `shift` (x, y), on top."""
    h, w = mask.shape
    out = scene.copy()
    planes = [
        (slice(0, h), (h, w), 1.0),
        (slice(h, h * 5 // 4), (h // 2, w // 2), 0.5),
        (slice(h * 5 // 4, None), (h // 2, w // 2), 0.5),
    ]
    for rows, (height, width), scale in planes:
        move = np.array([[1, 0, shift[0] * scale], [0, 1, shift[1] * scale]], np.float64)
        part = mask if scale == 1.0 else cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
        weight = cv2.warpAffine(part, move, (width, height))
        moved = cv2.warpAffine(
            other[rows].reshape(height, width), move, (width, height), borderMode=cv2.BORDER_REPLICATE
        )
        below = scene[rows].reshape(height, width)
        blended = below + weight * (moved.astype(np.float32) - below)
        out[rows] = np.rint(blended).astype(np.uint8).reshape(out[rows].shape)
    return out


def footage_of(frames: Sequence[U8]) -> Footage:
    """Drawn RGB pictures [h, w, 3], both sides multiples of 4, as a camera's planes."""
    h, w = frames[0].shape[:2]
    planes = np.stack([np.asarray(cv2.cvtColor(f, cv2.COLOR_RGB2YUV_I420), np.uint8) for f in frames])
    chroma = planes[:, h:].reshape(len(frames), 2, h // 2, w // 2)
    return Footage(DRAWN, planes[:, :h], chroma[:, 0], chroma[:, 1], np.arange(len(frames)) / 12.0, False)
