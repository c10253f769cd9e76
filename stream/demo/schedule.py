"""The demo's programme: what the drawn actor does when. It is what the recognizer should say.

Time runs in rounds of ten acts; each act is a pause of about 2 s and then one action of about 5 s, and each
round shows all ten actions in an order of its own. Everything follows from the seed: round n of a programme is
the same on every machine.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from engine.spec import NONE_LABEL
from stream.demo.motions import ACTIONS, IDLE

ACT_S = 7.0
ROUND_S = ACT_S * len(ACTIONS)
_ACTION_S = (4.6, 5.4)  # the pause fills the act


class Span(NamedTuple):
    """An action, or none, from start_s until just before end_s, seconds since the stream began."""

    label: str
    start_s: float
    end_s: float


class Shot(NamedTuple):
    """What one background is seen for: segments as stream.demo.scene.Scene takes them, beginning at start_s."""

    seed: tuple[int, ...]
    start_s: float
    segments: tuple[tuple[str, float], ...]

    @property
    def end_s(self) -> float:
        return self.start_s + sum(seconds for _, seconds in self.segments)


class Programme:
    """An endless programme of shots, and the truth about it."""

    def __init__(self, seed: int = 0) -> None:
        if seed < 0:
            raise ValueError(f"the seed of a programme is a number from 0 on, not {seed}")
        self.seed = seed
        self._round = lru_cache(maxsize=8)(self._compose)

    def shot_at(self, t_s: float) -> Shot:
        """The shot that is on at t_s >= 0."""
        shots = self._round(_round_of(t_s))
        return next(shot for shot in reversed(shots) if shot.start_s <= t_s or shot is shots[0])

    def truth_at(self, t_s: float) -> str:
        """The action at t_s >= 0, or "none"."""
        shot = self.shot_at(t_s)
        end = shot.start_s
        for label, seconds in shot.segments:
            end += seconds
            if t_s < end:
                return _published(label)
        return NONE_LABEL

    def spans(self, start_s: float, end_s: float) -> list[Span]:
        """Everything that is on between start_s and end_s, pauses included, in order and whole (not cut off)."""
        found: list[Span] = []
        if end_s <= start_s:
            return found
        for n in range(_round_of(start_s), _round_of(end_s) + 1):
            for shot in self._round(n):
                at = shot.start_s
                for label, seconds in shot.segments:
                    if at < end_s and at + seconds > start_s:
                        _append(found, Span(_published(label), at, at + seconds))
                    at += seconds
        return found

    def _compose(self, number: int) -> tuple[Shot, ...]:
        rng = np.random.default_rng([self.seed, number])
        shots: list[Shot] = []
        start = number * ROUND_S
        for act, label in enumerate(rng.permutation(ACTIONS).tolist()):
            action_s = round(float(rng.uniform(*_ACTION_S)), 2)
            pause_s = round(ACT_S - action_s, 2)
            seed = (self.seed, number, act)
            empty = rng.random() < 0.3
            goes_on = bool(shots) and not empty and len(shots[-1].segments) == 2 and rng.random() < 0.5
            if empty:  # nobody there, then a cut to someone in the middle of it
                shots.append(Shot((*seed, 0), start, ((NONE_LABEL, pause_s),)))
                shots.append(Shot((*seed, 1), start + pause_s, ((label, action_s),)))
            elif goes_on:
                last = shots.pop()
                shots.append(last._replace(segments=(*last.segments, (IDLE, pause_s), (label, action_s))))
            else:
                shots.append(Shot((*seed, 1), start, ((IDLE, pause_s), (label, action_s))))
            start += ACT_S
        return tuple(shots)


def _round_of(t_s: float) -> int:
    if t_s < 0:
        raise ValueError(f"the programme begins at 0 s; there is nothing at {t_s} s")
    return int(t_s // ROUND_S)


def _published(label: str) -> str:
    return NONE_LABEL if label == IDLE else label


def _append(spans: list[Span], span: Span) -> None:
    """Adds a span; two pauses in a row are one."""
    if spans and spans[-1].label == span.label == NONE_LABEL:
        span = Span(NONE_LABEL, spans.pop().start_s, span.end_s)
    spans.append(span)
