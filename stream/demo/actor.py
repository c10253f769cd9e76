"""An actor: one body that performs a list of actions one after the other, moving about the picture.

Everything is a pure function of time: `draw(canvas, t_s)` gives the same picture whenever it is called.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from stream.demo.figure import Body, Canvas, Pose, Stance, draw_figure
from stream.demo.motion import Motion
from stream.demo.motions import make_motion

Border = Literal["turn", "return", "wrap"]  # at the picture's border: turn round inside, outside, or come in again

BLEND_S = 0.35  # one action runs into the next for so long
_TURN_S = 0.2  # half the time a turn at the border takes


class Placement(NamedTuple):
    """Where the actor is: pose, x in pixels, and the way it faces (0 right, pi/2 to the camera, pi left)."""

    pose: Pose
    x: float
    yaw: float


@dataclass(frozen=True, slots=True)
class _Part:
    """One action of the list: how it moves and along which path."""

    motion: Motion
    start_s: float
    x: float
    heading: int  # +1 right, -1 left
    yaw: float  # of one who stands; of one who moves, its obliqueness
    border: Border
    left: float  # the path's ends, pixels
    right: float
    height_px: float
    turn_towards: int  # turns with the face (+1) or the back (-1) to the camera

    def place(self, t_s: float) -> Placement:
        t = t_s - self.start_s
        pose = self.motion.pose(t)
        if self.motion.speed == 0:
            return Placement(pose, self.x, self.yaw)
        distance = self.motion.distance(t) * self.height_px
        x, course = self._along(distance)
        if self.motion.view == "front":  # sideways: the leading leg changes, the front stays to the camera
            return Placement(pose if course >= 0 else pose.mirrored(), x, math.pi / 2 + self.yaw)
        yaw = math.acos(course) * self.turn_towards
        return Placement(pose, x, yaw + self.yaw * self.turn_towards * course)

    def _along(self, distance: float) -> tuple[float, float]:
        """Place after `distance` pixels, and the course: 1 to the right, -1 to the left, between in a turn."""
        span = self.right - self.left
        if self.border == "wrap":
            offset = (self.x - self.left if self.heading > 0 else self.right - self.x) + distance
            offset %= span
            return (self.left + offset if self.heading > 0 else self.right - offset), float(self.heading)
        gone = (self.x - self.left if self.heading > 0 else 2 * span - (self.x - self.left)) + distance
        gone %= 2 * span
        # Slowing down to the turn and speeding up again rounds the corner of the triangle wave.
        rounding = min(self.motion.speed * self.height_px * _TURN_S, span / 4)
        for corner, place, sign in ((span, self.right, 1), (0, self.left, -1), (2 * span, self.left, -1)):
            d = gone - corner
            if abs(d) < rounding:
                x = place - sign * (rounding / 2 + d * d / (2 * rounding))
                return x, -sign * d / rounding
        return (self.left + gone, 1.0) if gone < span else (self.right - (gone - span), -1.0)


class Actor:
    """Performs `segments` = [(label, seconds), ...], labels as in motions: the actions and "idle".

    All lengths in pixels of a canvas of `width`; `ground_y` is where the feet stand. After the last segment's
    end it simply goes on with it.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        segments: Sequence[tuple[str, float]],
        width: int,
        ground_y: float,
        height_px: float,
        *,
        body: Body | None = None,
        border: Border | None = None,
    ) -> None:
        if not segments:
            raise ValueError("an actor needs at least one (label, seconds) to perform")
        self.width, self.ground_y, self.height_px = width, ground_y, height_px
        self.body = body or Body.random(rng, (128, 128, 128))
        self.tilt = float(rng.uniform(0.0, 0.16))
        self._parts: list[_Part] = []
        room = min(0.45 * height_px, 0.35 * width)  # what raised arms need
        x, start = float(rng.uniform(room, width - room)), 0.0
        for index, (label, seconds) in enumerate(segments):
            motion = make_motion(rng, label)
            last = index == len(segments) - 1
            if last and index == 0 and motion.speed:  # a crossing that begins at the border
                x = room if rng.random() < 0.5 else width - room
            part = self._part(rng, motion, start=start, x=x, room=room, border=border if last else "turn")
            self._parts.append(part)
            start += seconds
            x = float(np.clip(part.place(start).x, room, width - room))
        self._starts = [p.start_s for p in self._parts]
        self.duration_s = start

    def _part(
        self, rng: np.random.Generator, motion: Motion, *, start: float, x: float, room: float, border: Border | None
    ) -> _Part:
        heading = 1 if x < self.width / 2 else -1
        if abs(x - self.width / 2) < 0.15 * self.width and rng.random() < 0.5:
            heading = -heading
        border = border or ("turn" if rng.random() < 0.6 else ("return" if rng.random() < 0.5 else "wrap"))
        outside = 0.35 * self.height_px
        inside = room * float(rng.uniform(0.5, 1.0))
        left, right = (inside, self.width - inside) if border == "turn" else (-outside, self.width + outside)
        if motion.view == "side":
            oblique = float(rng.normal(0, 0.12) if rng.random() < 0.7 else rng.uniform(-0.5, 0.6))
            yaw = oblique if motion.speed else (oblique if heading > 0 else math.pi - oblique)
        elif motion.view == "front":
            yaw = float(rng.normal(0, 0.12) if rng.random() < 0.7 else rng.uniform(-0.5, 0.5))
            yaw += 0 if motion.speed else math.pi / 2
        else:
            yaw = float(rng.uniform(-0.4, math.pi + 0.4))
        towards = 1 if rng.random() < 0.8 else -1
        return _Part(motion, start, x, heading, yaw, border, left, right, self.height_px, towards)

    def place(self, t_s: float) -> Placement:
        index = max(0, bisect.bisect_right(self._starts, t_s) - 1)
        part = self._parts[index]
        now = part.place(t_s)
        since = t_s - part.start_s
        if index == 0 or since >= BLEND_S:
            return now
        before = self._parts[index - 1].place(part.start_s)
        w = 0.5 - 0.5 * math.cos(math.pi * since / BLEND_S)
        turn = (now.yaw - before.yaw + math.pi) % (2 * math.pi) - math.pi
        return Placement(before.pose.mixed(now.pose, w), before.x + (now.x - before.x) * w, before.yaw + turn * w)

    def label(self, t_s: float) -> str:
        return self._parts[max(0, bisect.bisect_right(self._starts, t_s) - 1)].motion.label

    def visible(self, t_s: float) -> bool:
        """Whether most of the body is inside the picture."""
        return -0.02 * self.height_px <= self.place(t_s).x <= self.width + 0.02 * self.height_px

    def draw(self, canvas: Canvas, t_s: float) -> None:
        """Draws the actor as it is at t_s seconds on `canvas`, uint8 [h, w, 3] RGB."""
        pose, x, yaw = self.place(t_s)
        draw_figure(canvas, self.body, pose, Stance(x, self.ground_y, self.height_px, yaw, self.tilt))
