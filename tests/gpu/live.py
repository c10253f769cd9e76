"""Live inference twice: inputs made on the engine's device, and by the CPU with OpenCV's flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.bundle import Bundle
from engine.runtime.device import DeviceEngine
from stream.clip import ClipBuilder
from stream.demo.record import render_mp4
from stream.placement import place_inputs
from stream.reader import read_windows
from stream.thresholds import Thresholds
from train.online import OnlineEvent, Trace, events_in


class Compared(NamedTuple):
    """logits: the largest difference; largest: magnitude of one. events: of every film, by each of the two ways."""

    windows: int
    logits: float
    largest: float
    events: tuple[list[list[OnlineEvent]], list[list[OnlineEvent]]]

    def told(self) -> dict[str, float | int]:
        on_device, on_cpu = (sum(map(len, films)) for films in self.events)
        return {
            "windows": self.windows,
            "logits": round(self.logits, 6),
            "of": round(self.largest, 3),
            "events": on_device,
            "events_cpu": on_cpu,
        }


def draw_films(folder: Path, labels: Sequence[str], count: int) -> list[Path]:
    """The drawn actor, each time another one at other actions, with a pause between two. Frames come unevenly a tick
    apart: 15 a second."""
    paths = [folder / f"{n}.mp4" for n in range(count)]
    for n, path in enumerate(paths):
        first, second = labels[2 * n % len(labels)], labels[(2 * n + 1) % len(labels)]
        render_mp4(path, [("none", 2.0), (first, 4.0), ("none", 2.0), (second, 4.0)], seed=n)
    return paths


def compare(engine: DeviceEngine, bundle: Bundle, films: Sequence[Path]) -> Compared:
    """All films side by side, each a stream whose state is carried, as windows of cameras are computed together."""
    spec = bundle.spec
    infer, reason = place_inputs(engine)
    assert not reason, reason
    builder = ClipBuilder(spec)
    footage = [list(read_windows(path, spec)) for path in films]
    slots = [[engine.open_slot() for _ in films] for _ in range(2)]
    logits: list[list[list[np.ndarray]]] = [[[] for _ in films] for _ in range(2)]
    for index in range(max(map(len, footage))):
        rows = [n for n, windows in enumerate(footage) if index < len(windows)]
        windows = [footage[n][index] for n in rows]
        clip = builder.build(windows)
        for way, got in enumerate(
            (
                infer([slots[0][n] for n in rows], windows),
                engine.infer([slots[1][n] for n in rows], clip.picture, clip.flow),
            )
        ):
            assert got.finite.all()
            for row, n in enumerate(rows):
                logits[way][n].append(got.logits[row].copy())
    thresholds = Thresholds.parse(bundle.thresholds)
    rules = thresholds.rules(spec.actions, {})
    events: tuple[list[list[OnlineEvent]], list[list[OnlineEvent]]] = ([], [])
    for way, found in enumerate(events):
        for n, windows in enumerate(footage):
            pts_ns, epochs = np.stack([w.pts_ns for w in windows]), np.array([w.epoch for w in windows])
            found.append(
                events_in(Trace(spec, np.stack(logits[way][n]), pts_ns, epochs), rules, thresholds.temperature)
            )
    on_device, on_cpu = (np.concatenate([np.stack(film) for film in way]) for way in logits)
    return Compared(len(on_cpu), float(np.abs(on_device - on_cpu).max()), float(np.abs(on_cpu).max()), events)


def same_events(compared: Compared, step_ns: int) -> bool:
    """The same labels in the same order, and beginnings and ends at most a step apart."""
    for on_device, on_cpu in zip(*compared.events, strict=True):
        if [event.span.label for event in on_device] != [event.span.label for event in on_cpu]:
            return False
        for one, other in zip(on_device, on_cpu, strict=True):
            apart = [
                abs(one.span.start_ns - other.span.start_ns),
                abs((one.span.end_ns or 0) - (other.span.end_ns or 0)),
            ]
            if max(apart) > step_ns:
                return False
    return True
