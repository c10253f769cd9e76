"""A filmed scene: background, actor, things that stir, light and the camera's own faults.

`clip` and `sequence` make training footage of it: about 0.4 ms a frame at 160x128.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from engine.spec import NONE_LABEL
from stream.demo.actor import Actor, Border
from stream.demo.background import Background, paint_background
from stream.demo.distractors import Distractor, make_distractor, make_reach
from stream.demo.figure import Body, Canvas
from stream.demo.motions import ACTIONS, IDLE

Segments = Sequence[tuple[str, float]]

_TABLE = 256  # the camera's random numbers repeat after so many frames of 1/30 s


@dataclass(frozen=True, slots=True)
class Lens:
    """Faults of the camera and changes of the light."""

    shake_px: float  # greatest displacement
    gain: float
    flicker: float  # relative, frame by frame
    drift: float  # relative, slow
    drift_hz: float
    step: float  # relative change of the light at once, a lamp
    step_s: float
    noise: float  # standard deviation, grey levels
    blur: float  # sigma, pixels

    @staticmethod
    def random(rng: np.random.Generator, height: int, *, restless: bool = False) -> Lens:
        """restless: light and noise are what is seen to change, in a scene of label none."""
        often = 0.7 if restless else 0.2
        return Lens(
            shake_px=float(rng.uniform(0.2, 1.5) * height / 128) if rng.random() < 0.25 else 0.0,
            gain=float(rng.uniform(0.65, 1.2)),
            flicker=float(rng.uniform(0, 0.03)) if rng.random() < often else 0.0,
            drift=float(rng.uniform(0.02, 0.25)) if rng.random() < often else 0.0,
            drift_hz=float(rng.uniform(0.03, 0.4)),
            step=float(rng.uniform(-0.5, 0.4)) if restless and rng.random() < 0.4 else 0.0,
            step_s=float(rng.uniform(0.5, 6)),
            noise=float(rng.uniform(0.5, 14 if restless else 7)),
            blur=float(rng.uniform(0.3, 1.1) * height / 128) if rng.random() < 0.7 else 0.0,
        )

    def light(self, t_s: float) -> float:
        slow = 1 + self.drift * math.sin(2 * math.pi * self.drift_hz * t_s)
        return self.gain * slow * (1 + self.step if t_s > self.step_s else 1.0)


class Scene:
    """One shot: frames as a pure function of time. segments may name actions, "idle", and "none" (nobody there).

    A scene either has an actor for all its segments or, where the only one is "none", nobody.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        segments: Segments,
        width: int,
        height: int,
        *,
        lens: Lens | None = None,
        body_height: float | None = None,
        border: Border | None = None,
        distractors: int | None = None,
    ) -> None:
        self.width, self.height = width, height
        self.duration_s = sum(s for _, s in segments)
        self.background: Background = paint_background(rng, width, height)
        self.actor: Actor | None = None
        nobody = all(label == NONE_LABEL for label, _ in segments)
        if not nobody:
            self.actor = self._cast(rng, segments, body_height, border)
        self.lens = lens or Lens.random(rng, height, restless=nobody)
        count = distractors if distractors is not None else _how_many(rng, nobody)
        self.distractors: list[Distractor] = [make_distractor(rng, width, height) for _ in range(count)]
        if nobody and distractors is None and rng.random() < 0.6:
            self.distractors.append(make_reach(rng, width, height))
        m = self.background.margin
        self._offsets = rng.integers(0, 64, (_TABLE, 2))
        self._flicker = rng.normal(0, 1, _TABLE)
        self._shake = np.clip(cv2.GaussianBlur(rng.normal(0, 3, (_TABLE, 2)), (1, 9), 0, sigmaY=2.0), -2, 2)
        self._shake = np.clip(self._shake * self.lens.shake_px, -m, m)
        noise = rng.normal(0, self.lens.noise, (height + 64, width + 64, 1)) + rng.normal(
            0, 0.5 * self.lens.noise, (height + 64, width + 64, 3)
        )
        self._noise = np.clip(np.rint(noise), -127, 127).astype(np.int8)

    def _cast(
        self, rng: np.random.Generator, segments: Segments, body_height: float | None, border: Border | None
    ) -> Actor:
        share = body_height or float(rng.uniform(0.38, 0.56) if rng.random() < 0.7 else rng.uniform(0.3, 0.8))
        # Raised arms and jumps need a quarter more than the body's height.
        share = min(share, 0.78 * self.background.ground_y / self.height)
        script = [(IDLE if label == NONE_LABEL else label, seconds) for label, seconds in segments]
        return Actor(
            rng,
            script,
            self.width,
            self.background.ground_y,
            share * self.height,
            body=Body.random(rng, self.background.wall),
            border=border,
        )

    def label(self, t_s: float) -> str:
        """The action seen at t_s, or "none": idle, nobody, or the actor has left the picture."""
        if self.actor is None or not self.actor.visible(t_s):
            return NONE_LABEL
        label = self.actor.label(t_s)
        return NONE_LABEL if label == IDLE else label

    def frame(self, t_s: float) -> Canvas:
        """uint8 [height, width, 3] RGB."""
        n = round(t_s * 30) % _TABLE
        m = self.background.margin
        dx, dy = (round(float(s)) for s in self._shake[n])
        canvas = self.background.picture[m + dy : m + dy + self.height, m + dx : m + dx + self.width].copy()
        for distractor in self.distractors:
            distractor(canvas, t_s)
        if self.actor is not None:
            self.actor.draw(canvas, t_s)
        if self.lens.blur > 0.2:
            canvas = np.asarray(cv2.GaussianBlur(canvas, (3, 3) if self.height < 200 else (5, 5), self.lens.blur))
        light = self.lens.light(t_s) * (1 + self.lens.flicker * float(self._flicker[n]))
        if abs(light - 1) > 0.004:
            canvas = np.asarray(cv2.convertScaleAbs(canvas, alpha=light))
        y, x = (int(o) for o in self._offsets[n])
        noise = self._noise[y : y + self.height, x : x + self.width]
        out: Canvas = np.asarray(cv2.add(canvas, noise, dtype=cv2.CV_8U))
        return out


def _how_many(rng: np.random.Generator, nobody: bool) -> int:
    return int(rng.choice([0, 1, 2], p=[0.35, 0.4, 0.25] if nobody else [0.75, 0.2, 0.05]))


def clip(
    rng: np.random.Generator, label: str, seconds: float, fps: float, *, width: int = 160, height: int = 128
) -> Canvas:
    """One shot of `label`: an action, "idle" (someone who does nothing) or "none" (half idle, half nobody).

    uint8 [n, height, width, 3] RGB. An actor who moves stays in the picture. Raises ValueError for other labels.
    """
    if label == NONE_LABEL and rng.random() < 0.5:
        label = IDLE
    scene = Scene(rng, [(label, seconds)], width, height, border="turn")
    return np.stack([scene.frame(i / fps) for i in range(round(seconds * fps))])


def sequence(
    rng: np.random.Generator,
    segments: Segments,
    fps: float,
    *,
    width: int = 160,
    height: int = 128,
    cut: float = 0.15,
) -> tuple[Canvas, list[str]]:
    """Continuous footage with the label of every frame: (uint8 [n, height, width, 3] RGB, n labels).

    Within a shot one actor goes from action to action; "none" is an actor idling or, with a cut before and
    after, a scene with nobody. cut: how likely a shot ends between two segments.
    """
    frames: list[Canvas] = []
    labels: list[str] = []
    for shot in shoot(rng, segments, cut):
        scene = Scene(rng, shot, width, height)
        times = [i / fps for i in range(round(scene.duration_s * fps))]
        frames += [scene.frame(t) for t in times]
        labels += [scene.label(t) for t in times]
    return np.stack(frames), labels


def shoot(rng: np.random.Generator, segments: Segments, cut: float) -> list[list[tuple[str, float]]]:
    """Groups segments into shots, each for a Scene of its own. Raises ValueError for an unknown label."""
    shots: list[list[tuple[str, float]]] = []
    alone = True  # the shot before takes no more
    for label, seconds in segments:
        if label not in (*ACTIONS, IDLE, NONE_LABEL):
            raise ValueError(f"no label is called {label!r}; there are {', '.join(ACTIONS)}, idle, none")
        nobody = label == NONE_LABEL and rng.random() < 0.35
        if alone or nobody or rng.random() < cut:
            shots.append([])
        shots[-1].append((label if nobody else (IDLE if label == NONE_LABEL else label), seconds))
        alone = nobody
    return shots
