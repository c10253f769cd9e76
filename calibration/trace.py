"""Trace: what the network said of a recording, kept so that rules can be tried on it again and again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.footage import Recording
from calibration.observation import Observation
from engine.softmax import softmax
from engine.spec import ModelSpec
from stream.event_machine import EventMachine, Step, steps_of
from stream.events import EndReason, Phase, Rules


@dataclass(frozen=True)
class Trace:
    """logits: float32 [W, S, K+1]; pts_ns: int64 [W, T]; epochs: int64 [W]."""

    recording: Recording
    spec: ModelSpec
    logits: npt.NDArray[np.float32]
    pts_ns: npt.NDArray[np.int64]
    epochs: npt.NDArray[np.int64]

    @classmethod
    def of(cls, recording: Recording, spec: ModelSpec, observations: Iterable[Observation]) -> Trace | None:
        """None for a recording that is shorter than half a window."""
        rows = [(o.logits, o.pts_ns, o.epoch) for o in observations]
        if not rows:
            return None
        logits, pts_ns, epochs = zip(*rows, strict=True)
        return cls(recording, spec, np.stack(logits), np.stack(pts_ns), np.array(epochs))

    def __len__(self) -> int:
        """Windows."""
        return len(self.logits)

    @property
    def hours(self) -> float:
        return len(self) * self.spec.window_s / 3600

    def split(self, windows: int) -> tuple[Trace, Trace]:
        """The first so many windows, and the others."""
        return self._part(0, windows), self._part(windows, len(self))

    def pieces(self, seconds: float) -> list[Trace]:
        """Parts of so many seconds each; what is left at the end is left out."""
        windows = max(1, round(seconds / self.spec.window_s))
        return [self._part(end - windows, end) for end in range(windows, len(self) + 1, windows)]

    def _part(self, first: int, end: int) -> Trace:
        part = slice(first, end)
        return Trace(self.recording, self.spec, self.logits[part], self.pts_ns[part], self.epochs[part])

    def steps(self, temperature: float, floor: float = 0.0, margin_s: float = 0.0) -> list[list[Step]]:
        """The steps of each epoch, as the EventMachine takes them.

        Windows in which no action's score reaches `floor` are left out, but for those within margin_s of one in which
        some does. Where no rule has an exit below the floor, and the margin covers merging and smoothing, the machine
        says the same and is done much sooner: quiet footage is nearly all silence.
        """
        scores = softmax(self.logits / np.float32(temperature))[..., :-1].max(axis=(1, 2))
        loud = np.flatnonzero(scores >= floor)
        reach = 1 + math.ceil(margin_s / self.spec.window_s)
        around = np.arange(-reach, reach + 1)
        kept = np.unique((loud[:, None] + around).clip(0, len(self) - 1)) if floor > 0 else np.arange(len(self))
        groups: dict[int, list[Step]] = {}
        for i in kept.tolist():
            steps = steps_of(self.logits[i], self.pts_ns[i], self.spec.rate_hz, temperature)
            groups.setdefault(int(self.epochs[i]), []).extend(steps)
        return list(groups.values())


def margin_s(rules: Iterable[Rules]) -> float:
    """How much silence round a score decides what becomes of it: merging, and ten time constants of smoothing."""
    return max((rule.merge_gap_s + 10 * rule.smoothing_s for rule in rules), default=0.0)


def count_events(traces: Iterable[list[list[Step]]], spec: ModelSpec, rules: Mapping[str, Rules]) -> list[Counter[str]]:
    """For each trace the events by label that the service would publish. traces: `Trace.steps`."""
    counts = []
    for epochs in traces:
        machine, found = EventMachine(spec.actions, rules, new_id=lambda: ""), Counter[str]()
        for steps in epochs:
            changes = machine.advance(steps) + machine.finish(EndReason.GAP)
            found.update(change.label for change in changes if change.phase is Phase.START)
        counts.append(found)
    return counts
