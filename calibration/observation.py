"""Observation: one window of footage as a network saw it, with the state that it met it in.

States are real ones: the network runs over every recording from its beginning and carries its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.footage import Recording
from calibration.network import Array, Network, zero_states
from engine.spec import ModelSpec
from stream.clip import ClipBuilder
from stream.reader import read_windows


@dataclass(frozen=True)
class Observation:
    """inputs: the arrays of `ModelSpec.inputs` with N = 1, states before the window included.

    logits: float32 [S, K+1]. pts_ns: int64 [T]. epoch: changes where time has a gap, and states begin at zero.
    """

    inputs: list[Array]
    logits: npt.NDArray[np.float32]
    pts_ns: npt.NDArray[np.int64]
    epoch: int


def observe(
    network: Network, spec: ModelSpec, recording: Recording, live_minutes: float | None = None
) -> Iterator[Observation]:
    """Every window of a recording, or of so many minutes of a live camera. Raises SourceError."""
    if recording.live and live_minutes is None:
        raise ValueError(f"{recording.name} never ends: say how many minutes of it")
    until_s = time.monotonic() + 60 * live_minutes if recording.live and live_minutes is not None else None
    builder, epoch, states = ClipBuilder(spec), -1, zero_states(spec)
    for window in read_windows(recording.source, spec):
        if window.epoch != epoch:
            epoch, states = window.epoch, zero_states(spec)
        clip = builder.build([window])
        inputs: list[Array] = [clip.picture, *((clip.flow,) if spec.flow_ticks else ()), *states]
        logits, *states = network(inputs)
        yield Observation(inputs, logits[0], window.pts_ns, epoch)
        if until_s is not None and time.monotonic() > until_s:
            return
