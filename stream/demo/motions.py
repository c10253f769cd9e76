"""The ten actions of the Weizmann data and idling, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stream.demo import gaits, gestures
from stream.demo.motion import Motion

ACTIONS = ("bend", "jack", "jump", "pjump", "run", "side", "skip", "walk", "wave1", "wave2")
IDLE = "idle"

_MAKERS: dict[str, Callable[[np.random.Generator], Motion]] = {
    "bend": gestures.bend,
    "jack": gestures.jack,
    "jump": gaits.jump,
    "pjump": gestures.pjump,
    "run": gaits.run,
    "side": gaits.side,
    "skip": gaits.skip,
    "walk": gaits.walk,
    "wave1": gestures.wave1,
    "wave2": gestures.wave2,
    IDLE: gestures.idle,
}


def make_motion(rng: np.random.Generator, label: str) -> Motion:
    """A performance of `label` (one of ACTIONS, or "idle") with parameters of its own. Raises ValueError."""
    maker = _MAKERS.get(label)
    if maker is None:
        raise ValueError(f"no motion is called {label!r}; there are {', '.join(_MAKERS)}")
    return maker(rng)
