"""A clip as a camera that pans and shakes would have taken it: pictures shift, and flow by as much as they do."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engine.spec import ModelSpec
from stream.clip import Clip

SPEEDS = 0.02, 0.5  # picture widths a second, slow and fast; slow ones as often as fast ones
PAN_HZ = 0.1, 0.5  # how often a pan goes to and fro
SHAKE_HZ = 0.5, 4.0
SHAKES = 2  # oscillations in each direction


def with_moving_camera(clip: Clip, spec: ModelSpec, rng: np.random.Generator) -> Clip:
    """clip: consecutive windows of one stream. What comes into the picture is its edge, mirrored."""
    picture, flow = clip.picture.copy(), clip.flow.astype(np.float32)
    shift = _shift(len(picture) * spec.ticks, spec, rng)
    at = np.concatenate([np.zeros((1, 2)), np.cumsum(shift, axis=0)])
    for window in range(len(picture)):
        first = window * spec.ticks
        for place, tick in enumerate(spec.picture_ticks):
            picture[window, place] = _shifted(picture[window, place], at[first + tick])
        for place, tick in enumerate(spec.flow_ticks):
            for axis in (0, 1):
                moved = _shifted(flow[window, place, axis], at[first + tick]) + shift[first + tick, axis]
                flow[window, place, axis] = np.clip(moved, -spec.flow.clip_px, spec.flow.clip_px)
    return Clip(picture, flow.astype(np.float16))


def _shift(ticks: int, spec: ModelSpec, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """[ticks, 2], network pixels x and y from each tick to the next: a pan and some shaking, in shares of their own."""
    time = np.arange(ticks)[:, None] / spec.rate_hz
    speed = spec.width / spec.rate_hz * np.exp(rng.uniform(*np.log(SPEEDS)))
    angle, share = rng.uniform(0, 2 * np.pi), rng.uniform()
    pan = np.sqrt(2) * np.array([np.cos(angle), np.sin(angle) / 2]) * _waves(time, PAN_HZ, rng)
    shake = sum(np.hstack([_waves(time, SHAKE_HZ, rng), _waves(time, SHAKE_HZ, rng)]) for _ in range(SHAKES))
    return np.asarray(speed * (share * pan + (1 - share) * shake), np.float64)


def _waves(time: npt.NDArray[np.float64], hz: tuple[float, float], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return np.asarray(np.sin(2 * np.pi * rng.uniform(*hz) * time + rng.uniform(0, 2 * np.pi)), np.float64)


def _shifted(image: npt.NDArray[np.generic], by: npt.NDArray[np.float64]) -> npt.NDArray[np.generic]:
    """[H, W] or [H, W, 3]."""
    matrix = np.array([[1, 0, by[0]], [0, 1, by[1]]], np.float32)
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT))
