"""Online evaluation: continuous footage through the network and the event rules, as the service would publish it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.runtime.base import Engine
from engine.spec import ModelSpec
from stream.clip import ClipBuilder
from stream.demo.score import Span
from stream.event_machine import EventMachine, steps_of
from stream.events import EndReason, Phase, Rules
from stream.reader import read_windows

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


class Input(NamedTuple):
    """A window as the network takes it: picture uint8 [1, Tp, H, W, 3], flow float16 [1, Tf, 2, H, W]; pts_ns [T]."""

    picture: npt.NDArray[np.uint8]
    flow: npt.NDArray[np.float16]
    pts_ns: I64
    epoch: int


@dataclass(frozen=True)
class Trace:
    """What the network said of a file: logits float32 [W, S, K+1], pts_ns int64 [W, T], epochs int64 [W]."""

    spec: ModelSpec
    logits: F32
    pts_ns: I64
    epochs: I64

    @property
    def steps_ns(self) -> I64:
        """int64 [W * S]: the middle of every step."""
        ticks = self.spec.ticks // self.spec.steps
        first = self.pts_ns[:, ::ticks].reshape(-1)
        return np.asarray(first + round(ticks / self.spec.rate_hz * 5e8), np.int64)


@dataclass(frozen=True)
class OnlineEvent:
    """An event, and when it was known: told_ns is the time at the end of the window that opened it."""

    span: Span
    told_ns: int


def read_inputs(path: Path, spec: ModelSpec) -> Iterator[Input]:
    """The windows of a file. Raises SourceError."""
    builder = ClipBuilder(spec)
    for window in read_windows(path, spec):
        yield Input(*builder.build([window]), window.pts_ns, window.epoch)


def run(engine: Engine, inputs: Iterable[Input], *, carried: bool = True) -> Trace:
    """Windows through an engine, from a zero state. carried False: every window begins with zeros.

    A window whose result is not finite is left out, and begins a new epoch, as in the service.
    """
    spec, slot = engine.spec, engine.open_slot()
    logits, pts, epochs = [], [], []
    source, epoch = -1, -1
    for given in inputs:
        if given.epoch != source or not carried:
            engine.reset_slot(slot)
        epoch += given.epoch != source
        source = given.epoch
        result = engine.infer([slot], given.picture, given.flow)
        if result.finite[0]:
            logits.append(np.array(result.logits[0]))
            pts.append(given.pts_ns)
            epochs.append(epoch)
        else:
            epoch += 1
    engine.close_slot(slot)
    return Trace(
        spec,
        np.array(logits, np.float32).reshape(-1, spec.steps, len(spec.labels)),
        np.array(pts, np.int64).reshape(-1, spec.ticks),
        np.array(epochs, np.int64),
    )


def trace(engine: Engine, path: Path) -> Trace:
    """Run a whole file, state carried from window to window. Raises SourceError."""
    return run(engine, read_inputs(path, engine.spec))


def events_in(traced: Trace, rules: Mapping[str, Rules], temperature: float = 1.0) -> list[OnlineEvent]:
    """The events that the service would publish for it, in the order of their starts."""
    machine = EventMachine(traced.spec.actions, rules)
    starts: dict[str, tuple[int, int]] = {}
    found: list[OnlineEvent] = []
    epoch = traced.epochs[0] if len(traced.epochs) else 0
    for logits, pts_ns, of_epoch in zip(traced.logits, traced.pts_ns, traced.epochs, strict=True):
        changes = machine.finish(EndReason.GAP) if of_epoch != epoch else []
        epoch = of_epoch
        changes += machine.advance(steps_of(logits, pts_ns, traced.spec.rate_hz, temperature))
        for change in changes:
            if change.phase is Phase.START:
                starts[change.id] = (change.start_ns, int(pts_ns[-1]))
            elif change.phase is Phase.END:
                start_ns, told_ns = starts.pop(change.id)
                found.append(OnlineEvent(Span(change.label, start_ns, change.end_ns), told_ns))
    for change in machine.finish(EndReason.EOF):
        start_ns, told_ns = starts.pop(change.id)
        found.append(OnlineEvent(Span(change.label, start_ns, change.end_ns), told_ns))
    return sorted(found, key=lambda event: event.span.start_ns)


def delays_s(truth: Sequence[Span], events: Sequence[OnlineEvent]) -> list[float]:
    """For every action that was recognized: from its first frame to the moment its first right event was known."""
    delays = []
    for action in truth:
        known = [
            e.told_ns
            for e in events
            if e.span.label == action.label and e.told_ns > action.start_ns and e.span.start_ns < (action.end_ns or 0)
        ]
        if known:
            delays.append((min(known) - action.start_ns) / 1e9)
    return delays
