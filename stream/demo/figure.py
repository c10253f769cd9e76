"""A drawn human figure: a skeleton of a dozen segments, posed by angles, seen from any side.

Lengths are in body heights. Body axes are forward, left and up; the picture shows them in parallel
projection from a camera that looks slightly down. Colours are RGB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Canvas = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

# Rows of Pose.angles.
TORSO, HEAD, UPPER_ARM_L, FOREARM_L, UPPER_ARM_R, FOREARM_R, THIGH_L, SHIN_L, THIGH_R, SHIN_R = range(10)
SEGMENTS = 10

ANKLE_HEIGHT = 0.035
_FRACTION_BITS = 4  # cv2 draws at a sixteenth of a pixel
_SUBPIXEL = 1 << _FRACTION_BITS
_LATERAL = np.array([1, 1, 1, 1, -1, -1, 1, 1, -1, -1], np.float64)  # abduction leads away from the body's middle
_MIRROR = [0, 1, 4, 5, 2, 3, 8, 9, 6, 7]
_UP = np.array([1, 1, -1, -1, -1, -1, -1, -1, -1, -1], np.float64)  # limbs hang, torso and head stand


@dataclass(slots=True)
class Pose:
    """angles: float64 [10, 2], radians: flexion (towards the front) and abduction (away from the middle) of
    each segment against the vertical, not against its parent. air: how far the feet are off the ground, in
    body heights. turn: rotation about the vertical, radians, added to the way the figure faces."""

    angles: npt.NDArray[np.float64]
    air: float = 0.0
    turn: float = 0.0

    def mixed(self, other: Pose, weight: float) -> Pose:
        """This pose moved towards another: weight 0 is this one, 1 the other."""
        return Pose(
            self.angles + (other.angles - self.angles) * weight,
            self.air + (other.air - self.air) * weight,
            self.turn + (other.turn - self.turn) * weight,
        )

    def mirrored(self) -> Pose:
        """The same with left and right exchanged."""
        angles = self.angles[_MIRROR]
        angles[(TORSO, HEAD), 1] *= -1  # limbs count away from the middle, torso and head to the left
        return Pose(angles, self.air, -self.turn)


@dataclass(frozen=True, slots=True)
class Body:
    """Proportions in body heights and colours of one figure."""

    torso: float = 0.32
    upper_arm: float = 0.165
    forearm: float = 0.175
    thigh: float = 0.245
    shin: float = 0.225
    foot: float = 0.105
    shoulder_width: float = 0.19
    hip_width: float = 0.10
    head: float = 0.068
    arm_thickness: float = 0.055
    leg_thickness: float = 0.075
    torso_depth: float = 0.12
    coat: float = 0.05
    long_hair: bool = False
    top: Colour = (60, 50, 70)
    trousers: Colour = (40, 45, 70)
    skin: Colour = (205, 165, 140)
    hair: Colour = (45, 32, 26)
    shoes: Colour = (30, 28, 28)

    @staticmethod
    def random(rng: np.random.Generator, surroundings: Colour) -> Body:
        """A body that differs in build and dress; now and then its clothes hardly differ from `surroundings`."""
        build = rng.uniform(0.8, 1.35)

        def about(mean: float, spread: float = 0.08) -> float:
            return float(mean * rng.uniform(1 - spread, 1 + spread))

        return Body(
            torso=about(0.32, 0.05),
            upper_arm=about(0.165),
            forearm=about(0.175),
            thigh=about(0.245, 0.05),
            shin=about(0.225, 0.05),
            foot=about(0.105),
            shoulder_width=about(0.185 * build**0.5, 0.12),
            hip_width=about(0.10 * build**0.5, 0.15),
            head=about(0.068, 0.12),
            arm_thickness=about(0.052 * build, 0.15),
            leg_thickness=about(0.072 * build, 0.15),
            torso_depth=about(0.12 * build, 0.15),
            coat=float(rng.choice([0.0, 0.04, 0.09, 0.14])),
            long_hair=bool(rng.random() < 0.35),
            top=_clothes(rng, surroundings),
            trousers=_clothes(rng, surroundings),
            skin=_near(rng, [(225, 185, 160), (200, 150, 120), (150, 105, 80), (95, 65, 50)][rng.integers(4)], 12),
            hair=_near(rng, [(35, 28, 25), (80, 55, 35), (150, 115, 70), (130, 130, 130)][rng.integers(4)], 15),
            shoes=_clothes(rng, surroundings),
        )


def _near(rng: np.random.Generator, colour: Colour, spread: int) -> Colour:
    r, g, b = np.clip(np.asarray(colour) + rng.integers(-spread, spread + 1, 3), 0, 255).tolist()
    return r, g, b


def _clothes(rng: np.random.Generator, surroundings: Colour) -> Colour:
    kind = rng.random()
    if kind < 0.5:  # dark, the commonest in the street
        return _near(rng, (int(rng.integers(15, 75)),) * 3, 18)
    if kind < 0.85:  # any colour, from grey to gaudy
        colour = rng.uniform(10, 245, 3)
        r, g, b = (colour.mean() + (colour - colour.mean()) * rng.random()).astype(int).tolist()
        return r, g, b
    return _near(rng, surroundings, 45)


class Stance(NamedTuple):
    """Where and how large a figure is seen: it stands at (x, ground_y), pixels, and is height_px tall.

    yaw: 0 faces right, pi/2 faces the camera, pi faces left. tilt: by how much the camera looks down, radians.
    """

    x: float
    ground_y: float
    height_px: float
    yaw: float
    tilt: float = 0.1


def draw_figure(canvas: Canvas, body: Body, pose: Pose, stance: Stance) -> None:
    """Draws the figure on `canvas`, uint8 [h, w, 3] RGB; parts outside are cut off."""
    joint = _joints(body, pose)
    x, ground_y, height_px, yaw, tilt = stance
    yaw += pose.turn
    cos_yaw, sin_yaw = math.cos(yaw), math.sin(yaw)
    near = joint[:, 0] * sin_yaw - joint[:, 1] * cos_yaw  # towards the camera
    px = x + height_px * (joint[:, 0] * cos_yaw + joint[:, 1] * sin_yaw)
    py = ground_y - height_px * (joint[:, 2] * math.cos(tilt) - near * math.sin(tilt))
    fixed = np.stack([px, py], 1) * _SUBPIXEL
    if np.abs(fixed).max() > 2**24:  # far outside: cv2's fixed point would overflow
        return
    at: list[tuple[int, int]] = [(int(p), int(q)) for p, q in np.rint(fixed)]

    def bar(a: int, b: int, thickness: float, colour: Colour) -> None:
        width = max(1, round(thickness * height_px))
        cv2.line(canvas, at[a], at[b], colour, width, cv2.LINE_AA, _FRACTION_BITS)

    def blob(a: int, radius: float, colour: Colour) -> None:
        cv2.circle(canvas, at[a], round(radius * height_px * _SUBPIXEL), colour, -1, cv2.LINE_AA, _FRACTION_BITS)

    def leg(hip: int, shade: float) -> None:
        trousers, shoes = _shaded(body.trousers, shade), _shaded(body.shoes, shade)
        bar(hip + 1, hip + 3, body.leg_thickness * 0.62, shoes)  # ankle - toe
        bar(hip, hip + 2, body.leg_thickness, trousers)
        bar(hip + 2, hip + 1, body.leg_thickness * 0.8, trousers)

    def arm(shoulder: int, shade: float) -> None:
        sleeve = _shaded(body.top, shade)
        bar(shoulder, shoulder + 1, body.arm_thickness, sleeve)
        bar(shoulder + 1, shoulder + 2, body.arm_thickness * 0.85, sleeve)
        blob(shoulder + 2, body.arm_thickness * 0.55, _shaded(body.skin, shade))

    def shade(j: int) -> float:
        return 0.9 + 0.1 * min(1.0, max(-1.0, float(near[j]) * 12))

    legs = sorted((HIP_L, HIP_R), key=lambda j: near[j])
    arms = sorted((SHOULDER_L, SHOULDER_R), key=lambda j: near[j])
    behind = [a for a in arms if near[a] < -0.03]
    for j in behind:
        arm(j, shade(j))
    for j in legs:
        leg(j, shade(j))
    if body.long_hair:
        bar(NECK, SKULL, body.head * 2.1, body.hair)
    outline = np.array([at[SHOULDER_L], at[SHOULDER_R], at[HEM_R], at[HEM_L]], np.int32)
    cv2.fillPoly(canvas, [outline], body.top, cv2.LINE_AA, _FRACTION_BITS)
    bar(NECK, HEM, body.torso_depth * 0.92, body.top)
    bar(NECK, SKULL, body.head * 0.9, body.skin)
    blob(SKULL, body.head * 1.08, body.hair)
    if sin_yaw > -0.6:  # not seen from behind
        blob(FACE, body.head * 0.86, body.skin)
    for j in arms:
        if j not in behind:
            arm(j, shade(j))


# Rows of _joints: each shoulder is followed by elbow and hand, each hip by ankle, knee and toe.
SHOULDER_L, SHOULDER_R, HIP_L, HIP_R = 0, 3, 6, 10
NECK, SKULL, FACE, HEM, HEM_L, HEM_R, _JOINTS = 14, 15, 16, 17, 18, 19, 20


def _joints(body: Body, pose: Pose) -> npt.NDArray[np.float64]:
    """float64 [20, 3]: forward, left and up of every joint, the ground under the body being the origin."""
    sin, cos = np.sin(pose.angles), np.cos(pose.angles)
    d = np.empty((SEGMENTS, 3))
    d[:, 0] = sin[:, 0] * cos[:, 1]
    d[:, 1] = _LATERAL * sin[:, 1]
    d[:, 2] = _UP * cos[:, 0] * cos[:, 1]
    # The line between the shoulders tilts with the torso's sideways lean.
    across = np.array([0.0, cos[TORSO, 1], -sin[TORSO, 1]])

    j = np.zeros((_JOINTS, 3))
    j[NECK] = d[TORSO] * body.torso
    j[SKULL] = j[NECK] + d[HEAD] * body.head * 1.55
    j[FACE] = j[SKULL] + np.array([d[HEAD, 2], 0.0, -d[HEAD, 0]]) * body.head * 0.42 - d[HEAD] * body.head * 0.2
    j[HEM] = -d[TORSO] * body.coat
    for hip, thigh, shin, side in ((HIP_L, THIGH_L, SHIN_L, 1), (HIP_R, THIGH_R, SHIN_R, -1)):
        j[hip, 1] = side * body.hip_width * 0.5
        j[hip + 2] = j[hip] + d[thigh] * body.thigh
        j[hip + 1] = j[hip + 2] + d[shin] * body.shin
        # The foot lies flat under an upright shin and points down behind the body, as the heel lifts.
        flex = math.pi / 2 + 0.65 * min(0.0, float(pose.angles[shin, 0]))
        j[hip + 3] = j[hip + 1] + np.array([math.sin(flex), side * 0.15, -math.cos(flex)]) * body.foot
    for shoulder, upper, fore, side in (
        (SHOULDER_L, UPPER_ARM_L, FOREARM_L, 1),
        (SHOULDER_R, UPPER_ARM_R, FOREARM_R, -1),
    ):
        j[shoulder] = j[NECK] + across * (side * body.shoulder_width * 0.5) - d[TORSO] * 0.02
        j[shoulder + 1] = j[shoulder] + d[upper] * body.upper_arm
        j[shoulder + 2] = j[shoulder + 1] + d[fore] * body.forearm
    j[HEM_L] = j[HEM] + np.array([0.0, 0.5 * body.hip_width + 0.03, 0.0])
    j[HEM_R] = j[HEM] - np.array([0.0, 0.5 * body.hip_width + 0.03, 0.0])
    lowest = min(j[HIP_L + 1, 2], j[HIP_R + 1, 2], j[HIP_L + 3, 2] + 0.01, j[HIP_R + 3, 2] + 0.01)
    j[:, 2] += pose.air + ANKLE_HEIGHT - lowest
    return j


def _shaded(colour: Colour, shade: float) -> Colour:
    return int(colour[0] * shade), int(colour[1] * shade), int(colour[2] * shade)
