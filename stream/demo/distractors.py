"""Things that stir in a scene and are no action: plants in the wind, curtains, shadows, a rolling ball, a screen.

Where nobody is in the picture, also a hand that reaches in and takes something away: a moving limb is not yet a
person who acts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from stream.demo.figure import Canvas, Colour

Distractor = Callable[[Canvas, float], None]  # draws itself as it is at t seconds


def make_distractor(rng: np.random.Generator, width: int, height: int) -> Distractor:
    makers = (_plant, _curtain, _shadow, _ball, _screen)
    return makers[rng.integers(len(makers))](rng, width, height)


def _colour(rng: np.random.Generator) -> Colour:
    r, g, b = rng.integers(20, 235, 3).tolist()
    return r, g, b


def _plant(rng: np.random.Generator, width: int, height: int) -> Distractor:
    root = np.array([rng.uniform(0, 1) * width, rng.uniform(0.5, 1.0) * height])
    branches = int(rng.integers(2, 7))
    lean, length = rng.uniform(-0.9, 0.9, branches), rng.uniform(0.1, 0.4, branches) * height
    swing, frequency, phase = rng.uniform(0.03, 0.25), rng.uniform(0.3, 1.4), rng.uniform(0, 6, branches)
    colour, thickness = _colour(rng), max(1, round(rng.uniform(0.01, 0.05) * height))

    def draw(canvas: Canvas, t_s: float) -> None:
        angle = lean + swing * np.sin(2 * math.pi * frequency * t_s + phase)
        tips = root + np.stack([np.sin(angle), -np.cos(angle)], 1) * length[:, None]
        for x, y in tips:
            ends = (round(root[0] * 16), round(root[1] * 16)), (round(x * 16), round(y * 16))
            cv2.line(canvas, *ends, colour, thickness, cv2.LINE_AA, 4)

    return draw


def _curtain(rng: np.random.Generator, width: int, height: int) -> Distractor:
    left, top = rng.uniform(-0.1, 0.95) * width, rng.uniform(-0.1, 0.3) * height
    wide, high = rng.uniform(0.08, 0.3) * width, rng.uniform(0.3, 0.7) * height
    blow, frequency = rng.uniform(0.01, 0.08) * height, rng.uniform(0.2, 0.9)
    colour = _colour(rng)

    def draw(canvas: Canvas, t_s: float) -> None:
        a = blow * math.sin(2 * math.pi * frequency * t_s)
        b = blow * math.sin(2 * math.pi * frequency * t_s - 0.9)
        corners = [(left, top), (left + wide, top), (left + wide + b, top + high), (left + a, top + high)]
        cv2.fillPoly(canvas, [np.rint(np.array(corners) * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)

    return draw


def _shadow(rng: np.random.Generator, width: int, height: int) -> Distractor:
    wide, high = rng.uniform(0.1, 0.35) * width, rng.uniform(0.2, 0.8) * height
    top, darkness = rng.uniform(-0.1, 0.6) * height, rng.uniform(0.5, 0.9)
    speed, start = rng.uniform(-0.4, 0.4) * width, rng.uniform(0, 1) * width

    def draw(canvas: Canvas, t_s: float) -> None:
        left = (start + speed * t_s) % (width + wide) - wide
        part = canvas[max(0, round(top)) : round(top + high), max(0, round(left)) : max(0, round(left + wide))]
        if part.size:
            part[:] = cv2.convertScaleAbs(part, alpha=darkness)

    return draw


def _ball(rng: np.random.Generator, width: int, height: int) -> Distractor:
    """A ball or box that rolls or drives through."""
    size, y = rng.uniform(0.03, 0.12) * height, rng.uniform(0.3, 0.97) * height
    speed, start = rng.uniform(-0.7, 0.7) * width, rng.uniform(0, 1) * width
    colour, box = _colour(rng), bool(rng.random() < 0.5)
    long = size * rng.uniform(1, 4)

    def draw(canvas: Canvas, t_s: float) -> None:
        x = (start + speed * t_s) % (width + 4 * long) - 2 * long
        centre = (round(x * 16), round(y * 16))
        if box:
            corner = (round((x + long) * 16), round((y + size) * 16))
            cv2.rectangle(canvas, centre, corner, colour, -1, cv2.LINE_AA, 4)
        else:
            cv2.circle(canvas, centre, round(size * 16), colour, -1, cv2.LINE_AA, 4)

    return draw


def _screen(rng: np.random.Generator, width: int, height: int) -> Distractor:
    left, top = rng.uniform(0, 0.9) * width, rng.uniform(0, 0.6) * height
    wide, high = rng.uniform(0.06, 0.2) * width, rng.uniform(0.06, 0.2) * height
    colours, rate = [_colour(rng) for _ in range(8)], rng.uniform(0.5, 6)

    def draw(canvas: Canvas, t_s: float) -> None:
        ends = (round(left), round(top)), (round(left + wide), round(top + high))
        cv2.rectangle(canvas, *ends, colours[int(t_s * rate) % len(colours)], -1)

    return draw


def make_reach(rng: np.random.Generator, width: int, height: int) -> Distractor:
    """An arm that comes in over the border, again and again, and takes a standing thing with it or puts it back."""
    angle = rng.uniform(0, 2 * math.pi)
    target = np.array([rng.uniform(0.1, 0.9) * width, rng.uniform(0.25, 0.85) * height])
    outside = target + np.array([math.cos(angle), math.sin(angle)]) * 1.3 * max(width, height)
    thickness = rng.uniform(0.05, 0.16) * height
    sleeve, skin, thing = _colour(rng), _colour(rng), _colour(rng)
    thing_wide, thing_high = rng.uniform(0.04, 0.14) * height, rng.uniform(0.1, 0.5) * height
    period, phase, reach_s = rng.uniform(2.5, 6.0), rng.uniform(0, 6), rng.uniform(0.4, 1.2)
    stay_s, carries = rng.uniform(0.0, 1.2), bool(rng.random() < 0.7)

    def draw(canvas: Canvas, t_s: float) -> None:
        cycle, t = divmod(t_s + phase, period)
        into, out = t / reach_s, (t - reach_s - stay_s) / reach_s
        share = min(1.0, into) if out <= 0 else max(0.0, 1 - out)  # 0: out of the picture, 1: at the target
        hand = outside + (target - outside) * (0.5 - 0.5 * math.cos(math.pi * share))
        if carries:
            takes = cycle % 2 == 0  # and puts it back the next time
            held = takes == (out > 0)
            top_left = (hand if held else target) - np.array([thing_wide / 2, 0])
            corner = top_left + np.array([thing_wide, thing_high])
            cv2.rectangle(canvas, _fixed(top_left), _fixed(corner), thing, -1, cv2.LINE_AA, 4)
        if share > 0:
            wrist = hand + (outside - hand) * 0.08
            cv2.line(canvas, _fixed(wrist), _fixed(outside), sleeve, max(1, round(thickness)), cv2.LINE_AA, 4)
            cv2.circle(canvas, _fixed(hand), round(thickness * 0.6 * 16), skin, -1, cv2.LINE_AA, 4)

    return draw


def _fixed(point: np.ndarray[Any, Any]) -> tuple[int, int]:
    """In sixteenths of a pixel, as OpenCV draws with shift 4."""
    return round(float(point[0]) * 16), round(float(point[1]) * 16)
