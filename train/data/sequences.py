"""Training sequences: consecutive windows as a camera would deliver them, with a label for every step.

A sequence joins segments of actions and of nothing (`none`), so that the memory learns to let go of what is
over. Item (step, i) depends on them and the seed alone: any worker may make it, and a resumed run makes the same.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine.spec import NONE_LABEL, ModelSpec
from stream.clip import ClipBuilder
from stream.demo.scene import Scene, shoot
from stream.frame import NS_PER_S, ClockSource, StreamKey, Window
from train.config import TrainConfig, TrainError
from train.data.clips import ClipRef, Footage, find_clips, load_footage, resolve
from train.data.quiet import find_quiet
from train.data.segments import (
    U8,
    Segment,
    View,
    action,
    camera_offsets,
    film,
    footage_of,
    grade,
    passing,
    random_view,
    still,
)

# A step right after a change of label shows little of the new one yet.
ONSET_WEIGHTS = (0.2, 0.6)

DRAWN_SIZES = ((192, 108), (160, 120), (160, 128))  # width, height: 16:9, 4:3 and 5:4


class Sequence(NamedTuple):
    """pictures uint8 [n, H*3//2, W], pts_s float64 [n], label int64 [n]: one entry a tick."""

    pictures: U8
    pts_s: npt.NDArray[np.float64]
    label: npt.NDArray[np.int64]


class SequenceDataset(Dataset[dict[str, Tensor]]):
    """Item (step, i): one sequence of L windows, see `SequenceMaker.tensors`.

    Footage is decoded when it is first needed, in the worker process that needs it. Raises TrainError when the
    configured folders do not hold clips of every label.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        root = resolve(config.data.root)
        held_out = {*config.data.exclude_groups, *config.data.validate_groups}
        refs = find_clips(root, config.model.actions)
        known = {ref.group for ref in refs}
        if unknown := held_out - known:
            raise TrainError(f"{root} has no group {sorted(unknown)}; its groups are {sorted(known)}")
        self.refs = [ref for ref in refs if ref.group not in held_out]
        if missing := set(config.model.actions) - {ref.label for ref in self.refs}:
            raise TrainError(f"{root}: without the held out groups, no clip is left for {sorted(missing)}")
        self.quiet_refs = find_quiet([resolve(path) for path in config.data.quiet])
        self.quiet_refs += [ClipRef(resolve(path), NONE_LABEL, Path(path).stem) for path in config.data.quiet_clips]
        self._maker: SequenceMaker | None = None

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Tensor]:
        step, number = place
        config, phase = self.config, self.config.phase_at(step)
        if self._maker is None:
            self._maker = SequenceMaker(config.model, self.refs, self.quiet_refs)
        rng = np.random.default_rng([config.seed, step, number])
        ticks = phase.windows * config.model.ticks
        if rng.random() < phase.mix.drawn:
            sequence = self._maker.drawn(rng, ticks, phase.mix.none)
        else:
            sequence = self._maker.filmed(rng, ticks, phase.mix.none)
        return self._maker.tensors(rng, sequence, config.skip_window)


class SequenceMaker:
    """Joins segments into sequences and turns them into tensors."""

    def __init__(self, spec: ModelSpec, actions: list[ClipRef], quiet: list[ClipRef]) -> None:
        self._spec = spec
        self._refs = actions, quiet
        self._none = len(spec.actions)
        self._labels = {label: i for i, label in enumerate(spec.labels)}
        self._builder = ClipBuilder(spec)

    @cached_property
    def _all(self) -> list[Footage]:
        return [load_footage(ref, 2 * self._spec.height) for ref in self._refs[0]]

    @cached_property
    def _by_label(self) -> list[list[Footage]]:
        return [[f for f in self._all if f.ref.label == label] for label in self._spec.actions]

    @cached_property
    def _quiet(self) -> list[Footage]:
        return [load_footage(ref, 2 * self._spec.height) for ref in self._refs[1]]

    def filmed(self, rng: np.random.Generator, ticks: int, none_share: float) -> Sequence:
        """Real clips one after the other, each seen by a view of its own, with stillness or quiet between."""
        spec, rate = self._spec, self._spec.rate_hz
        parts: list[tuple[Segment, int]] = []
        filled = 0
        while filled < ticks:
            view = random_view(rng)
            if rng.random() < none_share:
                n = int(rng.uniform(0.5, 3.0) * rate)
                parts.append((self._nothing(rng, n, view), self._none))
            else:
                label = int(rng.integers(len(self._by_label)))
                footage = self._by_label[label][rng.integers(len(self._by_label[label]))]
                n = int(rng.uniform(1.5, 6.0) * rate)
                segment = action(rng, spec, footage, n, view, stretch=float(np.exp(rng.normal(0, 0.12))))
                parts.append((segment, label))
                if rng.random() < 0.3:  # the person freezes where the clip ends
                    hold = int(rng.uniform(0.5, 2.0) * rate)
                    frozen = np.broadcast_to(segment.pictures[-1], (hold, *segment.pictures.shape[1:]))
                    offset = camera_offsets(rng, hold, rate, 25.0)
                    noise = View(False, 0, 0, 0, 1, 1, 1, 0, 1, (0, 0), float(rng.uniform(0, 2)), 0)
                    parts.append((Segment(grade(rng, frozen, noise), offset), self._none))
            filled = sum(len(s.offset_s) for s, _ in parts)
        start = int(rng.integers(0, filled - ticks + 1))
        tick_s = np.arange(ticks) / rate
        return Sequence(
            np.concatenate([s.pictures for s, _ in parts])[start : start + ticks],
            tick_s + np.concatenate([s.offset_s for s, _ in parts])[start : start + ticks],
            np.concatenate([np.full(len(s.offset_s), label) for s, label in parts])[start : start + ticks],
        )

    def _nothing(self, rng: np.random.Generator, ticks: int, view: View) -> Segment:
        """Stillness, an empty scene, or real people who do none of the actions."""
        spec = self._spec
        kind = rng.random()
        if self._quiet and kind < 0.35:
            footage = self._quiet[rng.integers(len(self._quiet))]
            return action(rng, spec, footage, ticks, view, stretch=1.0)
        if kind < 0.65:
            scene, other = (self._frame(rng, some) for some in (view, random_view(rng)))
            return passing(rng, spec, scene, other, ticks, view)
        if kind < 0.85:
            picture = self._frame(rng, view)
        else:  # the median over a clip is its scene without the person, when the person moves about
            footage = self._all[rng.integers(len(self._all))]
            some = film(spec, footage, np.linspace(0, len(footage.y) - 1, 15).astype(np.int64), view)
            picture = np.median(some, axis=0).astype(np.uint8)
        return still(rng, spec, picture, ticks, view)

    def _frame(self, rng: np.random.Generator, view: View) -> U8:
        """Any frame of any clip."""
        everything = self._all + self._quiet
        footage: Footage = everything[rng.integers(len(everything))]
        picture: U8 = film(self._spec, footage, np.array([rng.integers(len(footage.y))]), view)[0]
        return picture

    def drawn(self, rng: np.random.Generator, ticks: int, none_share: float) -> Sequence:
        """The drawn actor goes from action to action, idles or is not there."""
        spec = self._spec
        offset = camera_offsets(rng, ticks, spec.rate_hz, float(rng.uniform(12.5, 30.0)))
        times = np.arange(ticks) / spec.rate_hz + offset - offset[0]
        segments: list[tuple[str, float]] = []
        end = -float(rng.uniform(0, 2))  # the first segment has been going on for a while
        lead = -end
        while end < times[-1]:
            if rng.random() < none_share:
                segments.append((NONE_LABEL, float(rng.uniform(0.7, 3.0))))
            else:
                segments.append((str(rng.choice(spec.actions)), float(rng.uniform(1.5, 6.0))))
            end += segments[-1][1]
        width, height = DRAWN_SIZES[rng.integers(len(DRAWN_SIZES))]
        body = float(rng.uniform(0.42, 0.72)) if rng.random() < 0.7 else None
        shots, start, frames, labels = shoot(rng, segments, 0.15), -lead, [], []
        scene = Scene(rng, shots[0], width, height, body_height=body)
        for t in times:
            while t - start >= scene.duration_s and len(shots) > 1:
                start += scene.duration_s
                shots = shots[1:]
                scene = Scene(rng, shots[0], width, height, body_height=body)
            frames.append(scene.frame(float(t - start)))
            labels.append(self._labels[scene.label(float(t - start))])
        view = random_view(rng, strength=0.5)
        small = film(spec, footage_of(frames), np.arange(ticks), view)
        return Sequence(grade(rng, small, view), times, np.array(labels, np.int64))

    def tensors(self, rng: np.random.Generator, sequence: Sequence, skip_window: float) -> dict[str, Tensor]:
        """Windows of a sequence as the network's input, with lost ticks and skipped windows as live.

        picture u8 [L,Tp,H,W,3], flow f16 [L,Tf,2,H,W], target i64 [L,S], weight f32 [L,S].
        """
        spec, t = self._spec, self._spec.ticks
        pictures, pts_s = sequence.pictures.copy(), sequence.pts_s.copy()
        for tick in np.flatnonzero(rng.random(len(pts_s)) < 0.01):
            if tick:
                pictures[tick], pts_s[tick] = pictures[tick - 1], pts_s[tick - 1]
        pts_ns = np.round((pts_s + 1) * NS_PER_S).astype(np.int64)
        windows = [
            Window(StreamKey("training", "full"), 0, i, pictures[w], pts_ns[w], 0, 0, ClockSource.ARRIVAL)
            for i, w in enumerate(slice(i, i + t) for i in range(0, len(pts_ns), t))
        ]
        picture, flow = self._builder.build(windows)

        period = spec.pattern.ticks
        target = sequence.label[period - 1 :: period]
        weight = np.ones(len(target), np.float32)
        for change in np.flatnonzero(np.diff(target)) + 1:
            weight[change : change + len(ONSET_WEIGHTS)] = ONSET_WEIGHTS[: len(weight) - change]
        # A skipped window leaves the state frozen: nothing of it is computed, and nothing is asked of it.
        keep = rng.random(len(windows)) >= skip_window
        keep[0] |= not keep.any()
        order = [*np.flatnonzero(keep), *np.flatnonzero(~keep)]
        targets, weights = target.reshape(-1, spec.steps).copy(), weight.reshape(-1, spec.steps)
        targets[~keep] = -1
        return {
            "picture": torch.from_numpy(picture[order]),
            "flow": torch.from_numpy(flow[order]),
            "target": torch.from_numpy(targets[order]),
            "weight": torch.from_numpy(weights[order]),
        }
