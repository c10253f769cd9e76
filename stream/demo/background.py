"""What stands behind the drawn actor: a wall, a floor and clutter, painted once for a scene."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stream.demo.figure import Canvas, Colour

Picture = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Background:
    """picture: uint8 [h + 2m, w + 2m, 3] RGB with a margin of m pixels on each side, so that a shaking camera
    has something to see. ground_y: where feet stand, in pixels of the picture without its margin. wall: the
    mean colour behind an actor."""

    picture: Canvas
    margin: int
    ground_y: float
    wall: Colour


def paint_background(rng: np.random.Generator, width: int, height: int) -> Background:
    margin = max(4, round(height / 24))
    w, h = width + 2 * margin, height + 2 * margin
    ground = rng.uniform(0.78, 0.93) * height
    picture = _wall(rng, w, h)
    picture += _texture(rng, w, h)
    if rng.random() < 0.55:
        _clutter(rng, picture, int(ground) + margin)
    if rng.random() < 0.8:
        # The floor starts a little above the feet: people stand on it, not at its edge.
        _floor(rng, picture, int(ground - rng.uniform(0.0, 0.12) * height) + margin)
    out: Canvas = np.clip(picture, 0, 255).astype(np.uint8)
    top, bottom = margin + int(0.4 * height), margin + int(0.75 * height)
    r, g, b = out[top:bottom].reshape(-1, 3).mean(0).astype(int).tolist()
    return Background(out, margin, ground, (r, g, b))


def _colour(rng: np.random.Generator) -> Picture:
    """Mostly greyish, as walls are; float32 [3]."""
    grey = rng.uniform(40, 225)
    tint = rng.normal(0, 10 if rng.random() < 0.7 else 45, 3)
    return np.asarray(grey + tint, np.float32)


def _wall(rng: np.random.Generator, w: int, h: int) -> Picture:
    """A plain colour, gradient, stripes, bricks or blobs; float32 [h, w, 3]."""
    picture = np.empty((h, w, 3), np.float32)
    picture[:] = _colour(rng)
    kind = rng.choice(["plain", "gradient", "stripes", "bricks", "blobs"], p=[0.25, 0.25, 0.15, 0.15, 0.2])
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) / h
    angle = rng.uniform(0, np.pi)
    across = x * np.cos(angle) + y * np.sin(angle)
    if kind == "gradient":
        picture += (across * rng.uniform(-70, 70))[..., None] * rng.uniform(0.6, 1.0, 3).astype(np.float32)
    elif kind == "stripes":
        along = x if rng.random() < 0.7 else across
        wave = np.sin(along * 2 * np.pi * rng.uniform(3, 16) + rng.uniform(0, 6))
        if rng.random() < 0.5:
            wave = np.sign(wave)
        picture += wave[..., None] * rng.uniform(3, 22)
    elif kind == "bricks":
        rows, columns = rng.uniform(8, 22), rng.uniform(4, 12)
        v, u = y * rows, x * columns
        u = u + 0.5 * (np.floor(v) % 2)
        joint = ((v % 1) < 0.12) | ((u % 1) < 0.08)
        picture += np.where(joint, rng.uniform(-25, 25), 0)[..., None]
        shades = rng.normal(0, rng.uniform(1, 9), (64, 64)).astype(np.float32)
        picture += shades[np.floor(v).astype(int) % 64, np.floor(u).astype(int) % 64][..., None]
    elif kind == "blobs":
        for _ in range(int(rng.integers(3, 14))):
            centre = (int(rng.integers(0, w)), int(rng.integers(0, h)))
            axes = (int(rng.uniform(0.03, 0.3) * h), int(rng.uniform(0.03, 0.3) * h))
            colour = (picture[0, 0] + rng.normal(0, 28, 3)).tolist()
            cv2.ellipse(picture, centre, axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        blur = rng.uniform(0.5, 0.05 * h)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.float32)
    return picture


def _texture(rng: np.random.Generator, w: int, h: int) -> Picture:
    """Noise of two coarsenesses, stretched as stains and wood grain are; float32 [h, w, 3]."""
    total = np.zeros((h, w, 3), np.float32)
    for _ in range(2):
        rows, columns = (int(n) for n in rng.integers(4, 60, 2))
        coarse = rng.normal(0, rng.uniform(0.5, 11), (rows, columns, 1)).astype(np.float32)
        how = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_NEAREST
        total += cv2.resize(coarse, (w, h), interpolation=how)[..., None]
    return total


def _clutter(rng: np.random.Generator, picture: Picture, ground: int) -> None:
    """Doors, windows, posts, furniture."""
    h, w = picture.shape[:2]
    for _ in range(int(rng.integers(1, 6))):
        width, height = int(rng.uniform(0.03, 0.3) * w), int(rng.uniform(0.08, 0.6) * h)
        left = int(rng.uniform(-0.1, 1.0) * w)
        bottom = ground if rng.random() < 0.6 else int(rng.uniform(0.2, 0.9) * h)
        colour = picture[h // 2, w // 2] + rng.normal(0, 45, 3) if rng.random() < 0.7 else _colour(rng)
        corner = ((left, bottom - height), (left + width, bottom))
        cv2.rectangle(picture, *corner, colour.tolist(), -1)
        if rng.random() < 0.5:
            cv2.rectangle(picture, *corner, (colour * 0.6).tolist(), max(1, h // 120))


def _floor(rng: np.random.Generator, picture: Picture, top: int) -> None:
    h = picture.shape[0]
    colour = _colour(rng) * rng.uniform(0.5, 1.0)
    picture[top:] = 0.25 * picture[top:] + 0.75 * colour
    depth = np.linspace(0, 1, max(1, h - top), dtype=np.float32)[:, None, None]
    picture[top:] += depth * rng.uniform(-35, 35)
    if rng.random() < 0.5:  # a kerb or skirting board
        kerb = top + int(rng.uniform(0, 0.1) * h)
        picture[kerb : kerb + max(1, int(rng.uniform(0.01, 0.03) * h))] *= rng.uniform(0.4, 1.5)
