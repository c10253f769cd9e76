"""Actions that cross the picture: walk, run, skip, jump, side.

Measured on the Weizmann clips (Gorelick et al., "Actions as Space-Time Shapes"), speeds in body heights a
second: walk 1.8 steps/s at 0.8, run 2.5 steps/s at 1.4, side 1.6 gallops/s at 1.05, skip 2.1 hops/s at 1.1,
jump 2.0 a second at 0.9.
"""

from __future__ import annotations

import math

import numpy as np

from stream.demo.figure import Pose
from stream.demo.motion import Motion, angles, cosine, flight, sine


def walk(rng: np.random.Generator) -> Motion:
    stride, swing = rng.uniform(22, 31), rng.uniform(6, 32)
    lift, lean, elbow = rng.uniform(35, 58), rng.uniform(-2, 7), rng.uniform(5, 35)
    frequency = rng.uniform(0.75, 1.1)

    def pose(p: float) -> Pose:
        def leg(q: float) -> tuple[float, float]:
            thigh = 3 + stride * sine(q)
            return thigh, thigh - 4 - lift * max(0.0, cosine(q + 0.07)) ** 2

        (tl, sl), (tr, sr) = leg(p), leg(p + 0.5)
        arm = swing * sine(p)
        return Pose(
            angles(
                torso=(lean, 0), head=(lean, 0),
                arm_l=(-arm, 4), fore_l=(-arm + elbow + 0.3 * max(0.0, -arm), 2),
                arm_r=(arm, 4), fore_r=(arm + elbow + 0.3 * max(0.0, arm), 2),
                thigh_l=(tl, 0), shin_l=(sl, 0), thigh_r=(tr, 0), shin_r=(sr, 0),
            )
        )  # fmt: skip

    # The feet must not slide: a stride is as long as the legs' opening makes it.
    speed = 4 * 0.49 * math.sin(math.radians(stride)) * frequency * rng.uniform(0.9, 1.05)
    return Motion("walk", pose, frequency, rng.random(), speed, 0.0, "side")


def run(rng: np.random.Generator) -> Motion:
    stride, swing = rng.uniform(27, 40), rng.uniform(12, 38)
    lift, lean, elbow = rng.uniform(65, 100), rng.uniform(2, 14), rng.uniform(60, 105)
    if rng.random() < 0.15:
        elbow = rng.uniform(15, 50)
    hop, frequency = rng.uniform(0.02, 0.055), rng.uniform(1.15, 1.55)

    def pose(p: float) -> Pose:
        def leg(q: float) -> tuple[float, float]:
            thigh = 8 + stride * sine(q)
            return thigh, thigh - 12 - lift * max(0.0, cosine(q + 0.1)) ** 1.6

        (tl, sl), (tr, sr) = leg(p), leg(p + 0.5)
        arm = swing * sine(p)
        return Pose(
            angles(
                torso=(lean, 0), head=(lean * 0.5, 0),
                arm_l=(-arm - 8, 8), fore_l=(-arm + elbow, -6),
                arm_r=(arm - 8, 8), fore_r=(arm + elbow, -6),
                thigh_l=(tl, 0), shin_l=(sl, 0), thigh_r=(tr, 0), shin_r=(sr, 0),
            ),
            air=hop * flight(2 * p, 0.6),
        )  # fmt: skip

    return Motion("run", pose, frequency, rng.random(), frequency * rng.uniform(0.9, 1.25), 0.0, "side")


def skip(rng: np.random.Generator) -> Motion:
    """Hops on one leg; the other is held up behind."""
    reach, crouch = rng.uniform(10, 20), rng.uniform(8, 28)
    raised_thigh, raised_knee = rng.uniform(0, 28), rng.uniform(75, 115)
    lean, elbow, pump = rng.uniform(0, 12), rng.uniform(35, 100), rng.uniform(4, 20)
    hop, share, kick = rng.uniform(0.05, 0.1), rng.uniform(0.45, 0.65), rng.uniform(5, 18)
    frequency = rng.uniform(1.7, 2.4)
    left = bool(rng.random() < 0.5)

    def pose(p: float) -> Pose:
        # Lands (0.5 + share / 2) with the leg ahead, is lowest at phase 0 and leaves with it behind.
        support = -3 - reach * sine(p)
        bend = 12 + crouch * max(0.0, cosine(p))
        thigh = support + bend * 0.5
        held = raised_thigh + kick * sine(p - 0.05)
        knee = raised_knee + 8 * cosine(p)
        legs = ((thigh, 0.0), (thigh - bend, 0.0), (held, 0.0), (held - knee, 0.0))
        if not left:
            legs = (*legs[2:], *legs[:2])
        arm = pump * sine(p + 0.1)
        return Pose(
            angles(
                torso=(lean + 3 * cosine(p), 0), head=(lean * 0.6, 0),
                arm_l=(arm - 6, 8), fore_l=(arm + elbow, 0), arm_r=(arm * 0.8 - 6, 8), fore_r=(arm + elbow, 0),
                thigh_l=legs[0], shin_l=legs[1], thigh_r=legs[2], shin_r=legs[3],
            ),
            air=hop * flight(p, share),
        )  # fmt: skip

    return Motion("skip", pose, frequency, rng.random(), rng.uniform(0.75, 1.4), rng.uniform(0.1, 0.4), "side")


def jump(rng: np.random.Generator) -> Motion:
    """Forward on both legs at once."""
    reach, crouch = rng.uniform(10, 22), rng.uniform(25, 60)
    lean, dip, swing = rng.uniform(0, 10), rng.uniform(2, 14), rng.uniform(2, 22)
    elbow, hop, share = rng.uniform(3, 35), rng.uniform(0.055, 0.11), rng.uniform(0.45, 0.65)
    frequency = rng.uniform(1.5, 2.3)
    apart = rng.uniform(0, 5)

    def pose(p: float) -> Pose:
        bend = 8 + crouch * max(0.0, cosine(p + 0.03)) + 0.35 * crouch * flight(p - 0.1, 0.5)
        thigh = 2 - reach * sine(p) + bend * 0.5
        shin = thigh - bend
        arm = -swing * sine(p - 0.1)
        return Pose(
            angles(
                torso=(lean + dip * cosine(p), 0), head=(0.4 * lean, 0),
                arm_l=(arm - 4, 5), fore_l=(arm + elbow, 2), arm_r=(arm - 4, 5), fore_r=(arm + elbow, 2),
                thigh_l=(thigh + apart, 0), shin_l=(shin + apart, 0),
                thigh_r=(thigh - apart, 0), shin_r=(shin - apart, 0),
            ),
            air=hop * flight(p, share),
        )  # fmt: skip

    return Motion("jump", pose, frequency, rng.random(), rng.uniform(0.7, 1.1), rng.uniform(0.2, 0.5), "side")


def side(rng: np.random.Generator) -> Motion:
    """Gallops sideways, towards the body's left; the one who draws it mirrors it for the other way."""
    wide, hop, crouch = rng.uniform(17, 27), rng.uniform(0.02, 0.06), rng.uniform(4, 18)
    hang, flap, elbow, lean = rng.uniform(4, 14), rng.uniform(0, 9), rng.uniform(0, 30), rng.uniform(-5, 5)
    frequency = rng.uniform(1.25, 1.9)

    def pose(p: float) -> Pose:
        # Widest at phase 0, together and in the air at 0.5; the trailing leg follows a little later.
        lead = 2 + wide * (0.5 + 0.5 * cosine(p + 0.05)) ** 0.8
        trail = 2 + wide * (0.5 + 0.5 * cosine(p - 0.05)) ** 0.8
        bend = crouch * max(0.0, cosine(p))
        arm = hang + flap * (0.5 + 0.5 * cosine(p))
        return Pose(
            angles(
                torso=(2, lean), head=(0, lean * 0.5),
                arm_l=(0, arm), fore_l=(elbow, arm * 0.5), arm_r=(0, arm), fore_r=(elbow, arm * 0.5),
                thigh_l=(bend, lead), shin_l=(-bend, lead), thigh_r=(bend, trail), shin_r=(-bend, trail),
            ),
            air=hop * flight(p, 0.6),
        )  # fmt: skip

    # A step as wide as the legs open, and as much again through the air.
    speed = frequency * (2 * 0.47 * math.sin(math.radians(wide + 2)) + rng.uniform(0.2, 0.35))
    return Motion("side", pose, frequency, rng.random(), speed, rng.uniform(0.0, 0.35), "front")
