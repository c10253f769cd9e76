"""How one action moves: poses as a function of time, and what every action's formula is made of.

Angles in the formulas are degrees; a phase of 1 is a full cycle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stream.demo.figure import (
    FOREARM_L,
    FOREARM_R,
    HEAD,
    SEGMENTS,
    SHIN_L,
    SHIN_R,
    THIGH_L,
    THIGH_R,
    TORSO,
    UPPER_ARM_L,
    UPPER_ARM_R,
    Pose,
)

View = Literal["side", "front", "any"]
PoseAt = Callable[[float], Pose]  # phase -> pose

_ROWS = {
    "torso": TORSO,
    "head": HEAD,
    "arm_l": UPPER_ARM_L,
    "fore_l": FOREARM_L,
    "arm_r": UPPER_ARM_R,
    "fore_r": FOREARM_R,
    "thigh_l": THIGH_L,
    "shin_l": SHIN_L,
    "thigh_r": THIGH_R,
    "shin_r": SHIN_R,
}


@dataclass(frozen=True, slots=True)
class Motion:
    """One performance of an action, with its random parameters fixed.

    frequency_hz: cycles a second. speed: body heights a second along the picture, 0 in place. surge: how
    unevenly it advances within a cycle, 0..1. view: which side it turns to the camera.
    """

    label: str
    pose_at: PoseAt
    frequency_hz: float
    phase: float
    speed: float = 0.0
    surge: float = 0.0
    view: View = "front"

    def pose(self, t_s: float) -> Pose:
        return self.pose_at(self.phase + self.frequency_hz * t_s)

    def distance(self, t_s: float) -> float:
        """Body heights advanced since t_s = 0; never decreases. Fastest in mid-air (phase 0.5)."""

        def wave(phase: float) -> float:
            return -math.sin(2 * math.pi * phase) / (2 * math.pi * self.frequency_hz)

        return self.speed * (t_s + self.surge * (wave(self.phase + self.frequency_hz * t_s) - wave(self.phase)))


def angles(**degrees: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Pose.angles from (flexion, abduction) in degrees by segment; what is not named stands or hangs upright."""
    out = np.zeros((SEGMENTS, 2))
    for name, pair in degrees.items():
        out[_ROWS[name]] = pair
    return np.radians(out)


def sine(phase: float) -> float:
    return math.sin(2 * math.pi * phase)


def cosine(phase: float) -> float:
    return math.cos(2 * math.pi * phase)


def flight(phase: float, share: float) -> float:
    """Height of a ballistic hop, 0..1: in the air for `share` of the cycle round phase 0.5."""
    d = (phase % 1.0 - 0.5) / (share / 2)
    return max(0.0, 1 - d * d)
