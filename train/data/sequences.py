"""Training sequences: consecutive windows as a camera would deliver them, with a label for every step.

A sequence joins segments of actions and of nothing (`none`), so that the memory learns to let go of what is
over. Item (step, i) depends on them and the seed alone: any worker may make it, and a resumed run makes the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor
from torch.utils.data import Dataset

from engine.spec import NONE_LABEL, ModelSpec
from stream.clip import ClipBuilder
from stream.demo.scene import Scene, shoot
from stream.flow import make_flow
from stream.frame import NS_PER_S, ClockSource, StreamKey, Window
from stream.runner import FORGET_AFTER_SKIPS
from train.config import TrainConfig, TrainError
from train.data.augment import draw_stretch, draw_view
from train.data.cache import cache_folder
from train.data.clips import ClipRef, Footage
from train.data.config import AugmentConfig, MixConfig
from train.data.footage import FootageCache
from train.data.prepare import prepare, tell_skipped
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
    relight,
    snow,
    still,
)
from train.data.split import find_split

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

    Clips are decoded into the cache when it is made; those of no use are in `skipped`, and told. Raises TrainError for
    what cannot be trained on, CacheError for a full disk.
    """

    def __init__(self, config: TrainConfig, console: Console | None = None) -> None:
        console = console or Console(quiet=True)
        self.config = config
        split = find_split(config.data, config.model.actions)
        self._footage = FootageCache(cache_folder(config.data.cache), 2 * config.model.height)
        self.skipped = prepare(self._footage, [*split.train, *split.quiet], console)
        useless = {clip.ref for clip in self.skipped}
        usable = [ref for ref in split.train if ref not in useless]
        self.refs = [ref for ref in usable if ref.label != NONE_LABEL]
        self.quiet_refs = [ref for ref in split.quiet if ref not in useless]
        self.quiet_refs += [ref for ref in usable if ref.label == NONE_LABEL]
        for note in split.notes:
            console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
        tell_skipped(self.skipped, console)
        self._check()
        self._maker: SequenceMaker | None = None

    def _check(self) -> None:
        """Raises TrainError where there is nothing to learn, or nothing to learn it from."""
        config = self.config
        try:
            make_flow(config.model.flow)
        except ValueError as error:
            raise TrainError(f"model.flow: {error}") from None
        trained = {ref.label for ref in self.refs}
        for clip in self.skipped:
            if clip.ref.label not in {*trained, NONE_LABEL}:
                raise TrainError(f"no clip of label '{clip.ref.label}' is of use; the first: {clip.reason}")
        mixes = [phase.mix for phase in config.phases]
        if not self.refs and not self.quiet_refs and any(mix.drawn < 1 for mix in mixes):
            raise TrainError("data: without root and quiet footage there is nothing to film; set drawn: 1 in each mix")
        if len(config.model.actions) == 1 and not any(mix.none or mix.none_clips for mix in mixes):
            raise TrainError(
                f"model.labels: '{config.model.actions[0]}' is the only class and nothing is mixed in to tell it from; "
                "name a second label, or set mix.none above 0"
            )
        if not self.quiet_refs and any(mix.none_clips for mix in mixes):
            raise TrainError("mix.none_clips: there is no clip of `none`; see data.none_folders, or set it to 0")

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Tensor]:
        step, number = place
        config, phase = self.config, self.config.phase_at(step)
        if self._maker is None:
            self._maker = SequenceMaker(config.model, self.refs, self.quiet_refs, self._footage, config.data.augment)
        self._maker.used.clear()
        rng = np.random.default_rng([config.seed, step, number])
        ticks = phase.sequence_windows * config.model.ticks
        if rng.random() < phase.mix.drawn:
            sequence = self._maker.drawn(rng, ticks, phase.mix.none)
        else:
            sequence = self._maker.filmed(rng, ticks, phase.mix)
        return self._maker.tensors(rng, sequence, config.skip_window)

    def clips(self, place: tuple[int, int]) -> list[ClipRef]:
        """The clips that an item is made of; none for one that is only drawn."""
        self[place]
        assert self._maker is not None
        return list(dict.fromkeys(self._maker.used))


class SequenceMaker:
    """Joins segments into sequences and turns them into tensors. footage: of `actions` and `quiet`.

    used: every clip that was taken so far.
    """

    def __init__(
        self,
        spec: ModelSpec,
        actions: list[ClipRef],
        quiet: list[ClipRef],
        footage: FootageCache | None = None,
        augment: AugmentConfig | None = None,
    ) -> None:
        self._spec = spec
        self._actions, self._quiet, self._all = actions, quiet, actions + quiet
        self._by_label = [[ref for ref in actions if ref.label == label] for label in spec.actions]
        self._footage = footage or FootageCache(None, 2 * spec.height)
        self._augment = augment or AugmentConfig()
        self.used: list[ClipRef] = []
        self._none = len(spec.actions)
        self._labels = {label: i for i, label in enumerate(spec.labels)}
        self._builder = ClipBuilder(spec)

    def filmed(self, rng: np.random.Generator, ticks: int, mix: MixConfig) -> Sequence:
        """Real clips one after the other, each seen by a view of its own, with stillness or quiet between."""
        spec, rate = self._spec, self._spec.rate_hz
        parts: list[tuple[Segment, int]] = []
        filled = 0
        while filled < ticks:
            view = draw_view(rng, self._augment)
            kind = rng.random() if self._actions else 0.0
            if not self._actions or kind < mix.none:
                n = int(rng.uniform(0.5, 3.0) * rate)
                parts.append((self._nothing(rng, n, view), self._none))
            else:
                none = kind < mix.none + mix.none_clips
                label = self._none if none else int(rng.integers(len(self._by_label)))
                footage = self._any(rng, self._quiet if none else self._by_label[label])
                whole = mix.action_s is None
                n = ticks if mix.action_s is None else int(rng.uniform(*mix.action_s) * rate)
                scene, stretch = self._other_scene(rng, view), draw_stretch(rng, self._augment)
                segment = action(rng, spec, footage, n, view, stretch, scene, whole)
                if self._augment.kind == "strong" and rng.random() < 0.1:
                    segment = segment._replace(pictures=relight(rng, segment.pictures, rate))
                parts.append((segment, label))
                if rng.random() < mix.freeze:  # the person freezes where the clip ends
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
            footage = self._any(rng, self._quiet)
            return action(rng, spec, footage, ticks, view, stretch=1.0)
        if kind > 0.93:
            return snow(rng, spec, ticks, view)
        if kind < 0.65:
            scene, other = (self._frame(rng, some) for some in (view, draw_view(rng, self._augment)))
            return passing(rng, spec, scene, other, ticks, view)
        picture = self._frame(rng, view) if kind < 0.8 else self._scene(rng, view)
        return still(rng, spec, picture, ticks, view)

    def _scene(self, rng: np.random.Generator, view: View) -> U8:
        """The median over a clip: its scene without the person, when the person moves about."""
        footage = self._any(rng, self._actions or self._quiet)
        some = film(self._spec, footage, np.linspace(0, len(footage.y) - 1, 15).astype(np.int64), view)
        picture: U8 = np.median(some, axis=0).astype(np.uint8)
        return picture

    def _other_scene(self, rng: np.random.Generator, view: View) -> U8 | None:
        """What surrounds the person instead of the clip's own scene; None: nothing."""
        share = self._augment.background
        return self._scene(rng, view) if share and rng.random() < share else None

    def _any(self, rng: np.random.Generator, refs: list[ClipRef]) -> Footage:
        ref = refs[rng.integers(len(refs))]
        self.used.append(ref)
        return self._footage[ref]

    def _frame(self, rng: np.random.Generator, view: View) -> U8:
        """Any frame of any clip."""
        footage = self._any(rng, self._all)
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
        view = draw_view(rng, self._augment, strength=0.5)
        small = film(spec, footage_of(frames), np.arange(ticks), view)
        return Sequence(grade(rng, small, view), times, np.array(labels, np.int64))

    def tensors(self, rng: np.random.Generator, sequence: Sequence, skip_window: float) -> dict[str, Tensor]:
        """Windows of a sequence as the network's input, with lost ticks and skipped windows as live.

        picture u8 [L,Tp,H,W,3], flow f16 [L,Tf,2,H,W], target i64 [L,S], weight f32 [L,S], reset bool [L]: the state is
        zeroed before the window, for as many before it were skipped as make a live stream forget.
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
        kept = np.flatnonzero(keep)
        reset = np.zeros(len(windows), np.bool_)
        reset[kept[1:]] = np.diff(kept) > FORGET_AFTER_SKIPS
        order = [*kept, *np.flatnonzero(~keep)]
        targets, weights = target.reshape(-1, spec.steps).copy(), weight.reshape(-1, spec.steps)
        targets[~keep] = -1
        return {
            "picture": torch.from_numpy(picture[order]),
            "flow": torch.from_numpy(flow[order]),
            "target": torch.from_numpy(targets[order]),
            "weight": torch.from_numpy(weights[order]),
            "reset": torch.from_numpy(reset[order]),
        }
