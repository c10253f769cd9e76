"""Online evaluation: a continuous file through the network and the event rules, held against what happened in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.runtime.base import Engine
from engine.spec import ModelSpec
from stream.clip import ClipBuilder
from stream.demo.score import Span
from stream.events import EndReason, EventMachine, Phase, Rules, steps_of
from stream.reader import read_windows


@dataclass(frozen=True)
class Trace:
    """What the network said of a file: logits float32 [W, S, K+1], pts_ns int64 [W, T], epochs int [W]."""

    spec: ModelSpec
    logits: npt.NDArray[np.float32]
    pts_ns: npt.NDArray[np.int64]
    epochs: npt.NDArray[np.int64]


@dataclass(frozen=True)
class OnlineEvent:
    """An event, and when it was known: told_ns is the PTS at the end of the window that opened it."""

    span: Span
    told_ns: int


def trace(engine: Engine, path: Path) -> Trace:
    """Run a whole file, state carried from window to window. Raises SourceError."""
    builder, slot, epoch = ClipBuilder(engine.spec), engine.open_slot(), -1
    logits, pts, epochs = [], [], []
    for window in read_windows(path, engine.spec):
        if window.epoch != epoch:
            engine.reset_slot(slot)
            epoch = window.epoch
        picture, flow = builder.build([window])
        logits.append(np.array(engine.infer([slot], picture, flow).logits[0]))
        pts.append(window.pts_ns)
        epochs.append(epoch)
    engine.close_slot(slot)
    return Trace(engine.spec, np.stack(logits), np.stack(pts), np.array(epochs))


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
