"""A file as windows, in this process and without loss: what training and evaluation read.

The Source, ClipSampler and ZoneScaler are the very ones of a live camera, so a network is trained on what it
will see. Only the phase differs: a file's first tick is its first frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.spec import ModelSpec
from stream.frame import NS_PER_S, ClockSource, Frame, PlaneArray, StreamKey, Window
from stream.sampler import Action, ClipSampler, Drop, Gap, Hold, Repeat, Take
from stream.source import Source
from stream.zone import FULL, Zone, ZoneScaler


@dataclass(frozen=True, slots=True)
class _Tick:
    epoch: int
    number: int
    picture: PlaneArray
    pts_ns: int
    arrival_ns: int
    utc_offset_ns: int


def read_windows(
    path: str | Path, spec: ModelSpec, zone: Zone = FULL, *, start_s: float = 0.0, end_s: float | None = None
) -> Iterator[Window]:
    """The windows that `spec` is given of a file from start_s to end_s (None: its end), camera "file", zone "full".

    A last window that is at least half there is completed by repeating its last picture; one cut short by a
    gap in time is left out. Raises SourceError and ZoneError.
    """
    window: list[_Tick] = []
    for tick in _read_ticks(path, spec, zone, start_s, end_s):
        if tick.number % spec.ticks == 0:
            window = []
        window.append(tick)
        if len(window) == spec.ticks:
            yield Window(
                stream=StreamKey("file", "full"),
                epoch=tick.epoch,
                index=tick.number // spec.ticks,
                pictures=np.stack([t.picture for t in window]),
                pts_ns=np.array([t.pts_ns for t in window], np.int64),
                arrival_ns=tick.arrival_ns,
                utc_offset_ns=tick.utc_offset_ns,
                clock=ClockSource.ARRIVAL,
            )


def _read_ticks(path: str | Path, spec: ModelSpec, zone: Zone, start_s: float, end_s: float | None) -> Iterator[_Tick]:
    chroma_ticks = frozenset(spec.picture_ticks)
    sampler = ClipSampler(spec.rate_hz, spec.ticks)
    maker: _TickMaker | None = None
    with Source(str(path)) as source:
        for frame in source.frames():
            if frame.pts_ns < start_s * NS_PER_S:
                continue
            if end_s is not None and frame.pts_ns > end_s * NS_PER_S:
                break
            size = (frame.height, frame.width)
            if maker is None or maker.scaler.source != size:
                if maker is not None:  # the picture's size changed: a new epoch
                    yield from maker.make(sampler.cut(), None)
                maker = _TickMaker(ZoneScaler(zone, *size, spec.height, spec.width), spec.ticks, chroma_ticks)
                maker.epoch = sampler.epoch
            yield from maker.make(sampler.offer(frame.pts_ns), frame)
        if maker is not None:
            yield from maker.make(sampler.finish(), None)


class _TickMaker:
    """Carries out the sampler's actions on frames of one size."""

    def __init__(self, scaler: ZoneScaler, ticks: int, chroma_ticks: frozenset[int]) -> None:
        self.scaler = scaler
        self.epoch = 0
        self._ticks = ticks
        self._chroma_ticks = chroma_ticks
        self._held: Frame | None = None
        self._taken: Frame | None = None

    def make(self, actions: list[Action], offered: Frame | None) -> Iterator[_Tick]:
        for action in actions:
            match action:
                case Take(number, held):
                    self._taken = self._held if held else offered
                    self._held = None
                    yield self._tick(number)
                case Repeat(number):
                    # Scaled again rather than copied: the tick before may have had no chroma.
                    yield self._tick(number)
                case Gap():
                    self.epoch += 1
                case Hold():
                    self._held = offered
                case Drop():
                    pass

    def _tick(self, number: int) -> _Tick:
        frame = self._taken
        assert frame is not None
        picture = np.empty(self.scaler.shape, np.uint8)
        self.scaler.scale(frame, picture, chroma=number % self._ticks in self._chroma_ticks)
        return _Tick(self.epoch, number, picture, frame.pts_ns, frame.arrival_ns, frame.utc_ns - frame.pts_ns)
