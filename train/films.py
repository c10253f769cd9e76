"""Films: labelled clips joined to continuous footage: what a camera would bring, with an exact truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from stream.demo.score import Span
from train.data.clips import ClipRef
from train.data.join import join_clips

CLIPS = 12
"""A film has at most so many: over a minute, in which the state is carried on."""


@dataclass(frozen=True)
class Film:
    """An H.264 file, and what happens in it when, in nanoseconds from its first frame, `none` included."""

    name: str
    path: Path
    truth: tuple[Span, ...]

    @property
    def seconds(self) -> float:
        return max(span.end_ns or 0 for span in self.truth) / 1e9


def plan_films(refs: Sequence[ClipRef], seed: int = 0) -> list[tuple[str, list[ClipRef]]]:
    """Which clips go into which film, in which order: a group's together, in an order drawn from `seed`.

    Clips that are a group of their own are put together, so that a film is long enough to carry a state.
    """
    by_group = [list(group) for _, group in groupby(sorted(refs, key=lambda r: (r.group, r.path)), lambda r: r.group)]
    alone = [clips[0] for clips in by_group if len(clips) == 1]
    rng = np.random.default_rng(seed)
    films = []
    for name, clips in [*((clips[0].group, clips) for clips in by_group if len(clips) > 1), ("single clips", alone)]:
        order = [clips[i] for i in rng.permutation(len(clips))]
        parts = -(-len(order) // CLIPS)
        for part in range(parts):
            films.append((f"{name} {part + 1}" if parts > 1 else name, order[part::parts]))
    return films


def make_films(
    refs: Sequence[ClipRef], folder: Path, *, seed: int = 0, on_clip: Callable[[], None] = lambda: None
) -> list[Film]:
    """Write the films of all clips into `folder`. Raises what join_clips raises."""
    films = []
    for number, (name, clips) in enumerate(plan_films(refs, seed)):
        path = folder / f"{number:03d}.mp4"
        films.append(Film(name, path, tuple(join_clips(clips, path, on_clip=on_clip))))
    return films
