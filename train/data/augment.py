"""Augmentation: through which view, and at which speed, a clip is seen."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from train.data.config import AugmentConfig
from train.data.segments import View, random_view

PLAIN = View(False, 0, 0, 0, 1, 1, 1, 0, 1, (0, 0), 0, 0)
CROP_TRIES = 10


def draw_view(rng: np.random.Generator, augment: AugmentConfig, strength: float = 1.0) -> View:
    """A view of one segment. strength: of `strong`, as random_view has it."""
    if augment.kind == "strong":
        return random_view(rng, strength)
    return PLAIN if augment.kind == "off" else _random_resized_crop(rng, augment)


def draw_stretch(rng: np.random.Generator, augment: AugmentConfig) -> float:
    """How many times as long a clip takes."""
    return float(np.exp(rng.normal(0, 0.12))) if augment.kind == "strong" else 1.0


def _random_resized_crop(rng: np.random.Generator, augment: AugmentConfig) -> View:
    """Area uniform, aspect log-uniform, and a mirror (Szegedy et al. 2015); letterboxed like every zone."""
    flip = bool(rng.random() < 0.5)
    for _ in range(CROP_TRIES):
        area = rng.uniform(*augment.crop_area)
        aspect = math.exp(rng.uniform(*np.log(augment.crop_aspect)))
        width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if width <= 1 and height <= 1:
            left, top = float(rng.uniform(0, 1 - width)), float(rng.uniform(0, 1 - height))
            return replace(PLAIN, flip=flip, left=left, top=top, width=width, height=height)
    return replace(PLAIN, flip=flip)
