"""Actions on the spot: bend, jack, pjump, wave1, wave2; and idling, which is none.

Measured on the Weizmann clips: pjump 1.4 a second, jack 0.95, waves 0.8, a bend in about 3 s.
"""

from __future__ import annotations

import math

import numpy as np

from stream.demo.figure import Pose
from stream.demo.motion import Motion, angles, cosine, flight, sine


def pjump(rng: np.random.Generator) -> Motion:
    crouch, hop, share = rng.uniform(20, 50), rng.uniform(0.07, 0.15), rng.uniform(0.5, 0.7)
    spread, bounce, hang = rng.uniform(0, 6), rng.uniform(0, 14), rng.uniform(4, 14)
    elbow, frequency = rng.uniform(0, 35), rng.uniform(1.15, 1.9)

    def pose(p: float) -> Pose:
        bend = 4 + crouch * max(0.0, cosine(p))
        up = bounce * flight(p, 0.8)
        arm = (0.0, hang + up)
        fore = (elbow, hang * 0.4 + up)
        return Pose(
            angles(
                torso=(0.15 * bend, 0), head=(0, 0), arm_l=arm, fore_l=fore, arm_r=arm, fore_r=fore,
                thigh_l=(bend * 0.6, spread), shin_l=(-bend * 0.5, spread * 0.5),
                thigh_r=(bend * 0.6, spread), shin_r=(-bend * 0.5, spread * 0.5),
            ),
            air=hop * flight(p, share),
        )  # fmt: skip

    return Motion("pjump", pose, frequency, rng.random())


def jack(rng: np.random.Generator) -> Motion:
    low, high, legs = rng.uniform(8, 25), rng.uniform(145, 178), rng.uniform(14, 27)
    elbow, hop, crouch = rng.uniform(-5, 22), rng.uniform(0.02, 0.06), rng.uniform(5, 25)
    frequency = rng.uniform(0.75, 1.25)

    def pose(p: float) -> Pose:
        opened = 0.5 - 0.5 * cosine(p)
        arm = low + (high - low) * opened
        fore = arm + elbow * (2 * opened - 0.6)
        leg = 1 + legs * min(1.0, max(0.0, 1.25 * opened - 0.12))
        bend = crouch * max(0.0, cosine(2 * p)) ** 2  # on landing, apart or together
        return Pose(
            angles(
                torso=(0, 0), head=(0, 0), arm_l=(3, arm), fore_l=(3, fore), arm_r=(3, arm), fore_r=(3, fore),
                thigh_l=(bend, leg), shin_l=(-bend, leg), thigh_r=(bend, leg), shin_r=(-bend, leg),
            ),
            air=hop * flight(2 * p, 0.7),
        )  # fmt: skip

    return Motion("jack", pose, frequency, rng.random())


def wave(rng: np.random.Generator, label: str, both: bool) -> Motion:
    sway, frequency = rng.uniform(0, 2), rng.uniform(0.6, 1.25)
    from_elbow = rng.random() < 0.25
    if from_elbow:  # the upper arm hardly moves, the forearm does
        upper, upper_swing = rng.uniform(75, 125), rng.uniform(0, 10)
        fore, fore_swing = upper + rng.uniform(35, 60), rng.uniform(25, 45)
        frequency *= 1.4
    else:
        upper, upper_swing = rng.uniform(112, 132), rng.uniform(22, 42)
        fore, fore_swing = upper + rng.uniform(2, 28), upper_swing + rng.uniform(0, 16)
    lag, forward = rng.uniform(0, 0.06), rng.uniform(-5, 15)
    other = rng.uniform(3, 14)
    elbow = rng.uniform(0, 30)
    left = bool(rng.random() < 0.5)

    def pose(p: float) -> Pose:
        raised = ((forward, upper + upper_swing * sine(p)), (forward, fore + fore_swing * sine(p - lag)))
        hanging = ((0.0, other), (elbow, other * 0.3))
        arm_l = raised if both or left else hanging
        arm_r = raised if both or not left else hanging
        lean = sway * sine(p)
        return Pose(
            angles(
                torso=(0, lean), head=(0, lean), arm_l=arm_l[0], fore_l=arm_l[1], arm_r=arm_r[0], fore_r=arm_r[1],
                thigh_l=(0, 3), shin_l=(0, 3), thigh_r=(0, 3), shin_r=(0, 3),
            )
        )  # fmt: skip

    return Motion(label, pose, frequency, rng.random())


def wave1(rng: np.random.Generator) -> Motion:
    return wave(rng, "wave1", both=False)


def wave2(rng: np.random.Generator) -> Motion:
    return wave(rng, "wave2", both=True)


def bend(rng: np.random.Generator) -> Motion:
    """Bends forward to the floor and comes up again, with a moment upright between."""
    depth, knee, back = rng.uniform(85, 130), rng.uniform(0, 30), rng.uniform(5, 15)
    reach, upright_arm, elbow = rng.uniform(-10, 25), rng.uniform(0, 20), rng.uniform(5, 45)
    standing, hold = rng.uniform(0.12, 0.3), rng.uniform(0.08, 0.2)
    frequency = rng.uniform(0.28, 0.45)

    def pose(p: float) -> Pose:
        q = abs((p % 1.0) - 0.5) * 2  # 1 upright .. 0 down
        share = min(1.0, max(0.0, (q - hold) / (1 - hold - standing)))
        down = 0.5 + 0.5 * math.cos(math.pi * share)
        torso = 2 + depth * down
        arm = upright_arm + (reach - upright_arm) * down + 8 * math.sin(math.pi * down)
        fore = arm + elbow * (1 - down)
        leg = back * down
        return Pose(
            angles(
                torso=(torso, 0), head=(torso * 1.05, 0),
                arm_l=(arm + 3, 3), fore_l=(fore + 3, 2), arm_r=(arm - 3, 3), fore_r=(fore - 3, 2),
                thigh_l=(leg + knee * down * 0.6 + 2, 1), shin_l=(leg - knee * down * 0.4 + 2, 1),
                thigh_r=(leg + knee * down * 0.6 - 2, 1), shin_r=(leg - knee * down * 0.4 - 2, 1),
            )
        )  # fmt: skip

    return Motion("bend", pose, frequency, rng.uniform(-0.15, 0.15), view="side")


def idle(rng: np.random.Generator) -> Motion:
    """Stands: breathes, shifts the weight, looks round, turns a little; arms hang, are folded or hold something."""
    held = rng.random()
    if held < 0.6:
        arm, fore = (rng.uniform(-5, 8), rng.uniform(3, 12)), (rng.uniform(0, 30), rng.uniform(-5, 8))
    elif held < 0.8:  # folded or hands on hips
        arm, fore = (rng.uniform(0, 15), rng.uniform(15, 40)), (rng.uniform(40, 90), rng.uniform(-60, -30))
    else:  # reads something held before the chest
        arm, fore = (rng.uniform(5, 25), rng.uniform(5, 15)), (rng.uniform(70, 120), rng.uniform(-30, -5))
    one_up = rng.random() < 0.15  # a telephone at the ear: a raised hand that does not wave
    phone = ((rng.uniform(20, 50), rng.uniform(20, 45)), (rng.uniform(130, 160), rng.uniform(-20, 20)))
    breath, shift, look = rng.uniform(0.3, 1.2), rng.uniform(0.3, 3.0), rng.uniform(0, 12)
    turn, slow = rng.uniform(0, 0.35), rng.uniform(0.15, 0.5)
    a, b, c = rng.random(3)

    def pose(p: float) -> Pose:
        lean = shift * sine(slow * p + a)
        raised = phone if one_up else (arm, fore)
        swing = breath * sine(p)
        return Pose(
            angles(
                torso=(1 + 0.5 * swing, lean), head=(look * sine(0.7 * slow * p + b), lean),
                arm_l=(raised[0][0] + swing, raised[0][1]), fore_l=(raised[1][0] + swing, raised[1][1]),
                arm_r=(arm[0] + swing, arm[1]), fore_r=(fore[0] + swing, fore[1]),
                thigh_l=(0, 3 - lean), shin_l=(0, 3 - lean), thigh_r=(0, 3 + lean), shin_r=(0, 3 + lean),
            ),
            turn=turn * sine(0.6 * slow * p + c),
        )  # fmt: skip

    return Motion("idle", pose, rng.uniform(0.2, 0.4), rng.random(), view="any")
