"""Does a state last? Recall after an hour of empty scene, and what bf16 makes of 10,000 windows.

    python -m benchmarks.lasting_state [--model BUNDLE] [--data DIR] [--group G ...] [--scene FILE] [--json]

The clips of `--data` are joined to films (train.films). Their events are counted from a zero state and from the state
that an hour of an empty scene leaves, with every window computed, and with a tenth of them skipped at random, as under
load: a skipped window leaves the state as it is, and four in a row zero it. The scene is a file, or the median picture
of the first clip with a camera's noise, as H.264, in windows drawn at random.

Drift: the same windows, films and scene by turns, through the memory in f32 and in bf16. bf16 is emulated, on any CPU:
weights, features, states and logits are rounded to it, the states between windows. Sums stay in f32, as hardware keeps
them; what a CPU rounds within a window is not in it.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.memory_alone import MemoryAlone, traced
from engine.bundle import Bundle
from engine.network.convlstm import State
from engine.network.weights import load_recognizer
from engine.softmax import softmax
from stream.demo.record import write_mp4
from stream.runner import FORGET_AFTER_SKIPS
from stream.thresholds import Thresholds
from train.config import TrainError
from train.data.clips import ClipRef, data_root, load_footage
from train.data.join import rgb_pictures
from train.data.segments import U8
from train.detection import EventReport
from train.films import Film, make_films
from train.online import F32, Input, events_in, read_inputs
from train.selection import select_clips

SKIPPED = 0.1
SEEDS = 3
NOISE = 2.0  # grey levels
SCENE_S = 30.0
BLOCKS = 10


def empty_scene(ref: ClipRef, path: Path) -> None:
    """Write what a clip's camera sees when nobody is there: the median of its pictures, and noise."""
    picture = np.median(rgb_pictures(load_footage(ref, max_height=720)), axis=0)
    picture = picture[: picture.shape[0] & ~1, : picture.shape[1] & ~1]
    rng = np.random.default_rng(0)

    def frames() -> Iterator[U8]:
        for _ in range(round(SCENE_S * 25)):
            yield np.clip(picture + rng.normal(0, NOISE, picture.shape), 0, 255).astype(np.uint8)

    write_mp4(path, frames(), 25)


def skips(count: int, share: float, seed: int) -> tuple[list[int], list[bool]]:
    """Which of `count` windows are computed, and before which of these the state has been zeroed."""
    skipped = np.random.default_rng(seed).random(count) < share
    kept, reset, run = [], [], 0
    for window in range(count):
        if skipped[window]:
            run += 1
            continue
        kept.append(window)
        reset.append(run >= FORGET_AFTER_SKIPS)
        run = 0
    return kept, reset


class Films:
    """Films with the features of all their windows, and the bundle's rules for events."""

    def __init__(self, memory: MemoryAlone, bundle: Bundle, films: Sequence[Film]) -> None:
        thresholds = Thresholds.parse(bundle.thresholds)
        self._rules, self._temperature = thresholds.rules(bundle.spec.actions, {}), thresholds.temperature
        self._memory, self.films = memory, tuple(films)
        self.inputs: list[list[Input]] = [list(read_inputs(film.path, bundle.spec)) for film in films]
        self.features = [memory.features(inputs) for inputs in self.inputs]

    def report(self, state: State, share: float, seed: int) -> EventReport:
        """The events of every film when it begins with `state`, `share` of its windows skipped."""
        events = []
        for number, (inputs, features) in enumerate(zip(self.inputs, self.features, strict=True)):
            kept, reset = skips(len(inputs), share, seed * 1000 + number)
            logits, _ = self._memory.run(features[kept], state, reset)
            found = traced(self._memory, [inputs[i] for i in kept], logits)
            events.append(tuple(events_in(found, self._rules, self._temperature)))
        return EventReport(self.films, tuple(events))


def recall(memory: MemoryAlone, films: Films, scene: Tensor, hour: int) -> list[dict[str, Any]]:
    """A row for each way of skipping: actions recognized from a zero state, and after the empty scene."""
    rows = []
    for share, seeds in ((0.0, range(1)), (SKIPPED, range(SEEDS))):
        fresh, late = [], []
        for seed in seeds:
            order = np.random.default_rng([seed, 1]).integers(len(scene), size=hour)
            kept, reset = skips(hour, share, seed)
            _, state = memory.run(scene[order[kept]], memory.zero(), reset)
            fresh.append(films.report(memory.zero(), share, seed).score)
            late.append(films.report(state, share, seed).score)
        expected = sum(score.expected for score in fresh)
        shares = [sum(score.right for score in scores) / expected for scores in (fresh, late)]
        rows.append(
            {
                "skipped": share,
                "actions": expected,
                "fresh": shares[0],
                "after_an_hour": shares[1],
                "points": 100 * (shares[1] - shares[0]),
                "false_events": [sum(score.false_events for score in scores) for scores in (fresh, late)],
            }
        )
    return rows


def in_bf16(tensor: Tensor) -> Tensor:
    """Rounded to bf16 and back."""
    return tensor.to(torch.bfloat16).to(torch.float32)


def drift(memory: MemoryAlone, inputs: Sequence[Input], windows: int) -> list[dict[str, float]]:
    """bf16 against f32 over `windows` windows drawn from `inputs` in stretches: a row for each tenth of them."""
    rough = MemoryAlone(copy.deepcopy(memory.model))
    for parameter in rough.model.parameters():
        parameter.data = in_bf16(parameter.data)
    fine_features, rough_features = memory.features(inputs), in_bf16(rough.features(inputs))
    order = _stretches(len(inputs), windows)
    fine_state, rough_state = memory.zero(), rough.zero()
    rows: list[dict[str, float]] = []
    for block in np.array_split(order, BLOCKS):
        fine_logits, rough_logits, states = [], [], []
        for window in block:
            part = slice(int(window), int(window) + 1)
            logits, fine_state = memory.run(fine_features[part], fine_state)
            fine_logits.append(logits)
            logits, (hidden, cell) = rough.run(rough_features[part], rough_state)
            rough_state = in_bf16(hidden), in_bf16(cell)
            rough_logits.append(in_bf16(torch.from_numpy(logits)).numpy())
            states.append(float((rough_state[0] - fine_state[0]).abs().max()))
        rows.append(_difference(np.concatenate(fine_logits), np.concatenate(rough_logits), max(states)))
    return rows


def _stretches(inputs: int, windows: int) -> list[int]:
    """Windows in the order of time, from a place drawn anew every twenty."""
    rng = np.random.default_rng(0)
    return [int(i) for _ in range(-(-windows // 20)) for i in (rng.integers(inputs) + np.arange(20)) % inputs][:windows]


def _difference(fine: F32, rough: F32, state: float) -> dict[str, float]:
    scores = np.abs(softmax(fine) - softmax(rough))
    return {
        "state_max": state,
        "logit_max": float(np.abs(fine - rough).max()),
        "score_max": float(scores.max()),
        "score_mean": float(scores.mean()),
        "same_label": float((fine.argmax(-1) == rough.argmax(-1)).mean()),
    }


def tables(found: dict[str, Any]) -> list[Table]:
    kept = Table(title=f"recall after {found['hour_windows']} windows of empty scene", title_justify="left")
    for name in ("windows skipped", "actions", "fresh", "after the hour", "points", "false events"):
        kept.add_column(name, justify="right")
    for row in found["recall"]:
        shares = (f"{row[key]:.1%}" for key in ("skipped", "fresh", "after_an_hour"))
        skipped, fresh, late = shares
        false_events = "{} / {}".format(*row["false_events"])
        kept.add_row(skipped, str(row["actions"]), fresh, late, f"{row['points']:+.1f}", false_events)
    drifted = Table(title="bf16 (emulated) against f32", title_justify="left")
    for name in ("windows up to", "state, max", "logit, max", "score, max", "score, mean", "same label"):
        drifted.add_column(name, justify="right")
    for number, row in enumerate(found["drift"], 1):
        values = (f"{row[key]:.4f}" for key in ("state_max", "logit_max", "score_max", "score_mean"))
        drifted.add_row(str(number * found["drift_windows"] // BLOCKS), *values, f"{row['same_label']:.2%}")
    return [kept, drifted]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="movements", help="a shipped model's name, or a bundle's folder")
    parser.add_argument("--data", type=Path, default=data_root() / "weizmann", help="clips, in a folder per label")
    parser.add_argument("--group", action="append", default=[], help="only clips of this group")
    parser.add_argument("--scene", type=Path, help="footage of an empty scene")
    parser.add_argument("--windows", type=int, default=3600, help="of empty scene")
    parser.add_argument("--drift-windows", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    bundle = Bundle.load(args.model)
    refs = select_clips(args.data, bundle.spec, groups=args.group).refs
    memory = MemoryAlone(load_recognizer(bundle))
    with tempfile.TemporaryDirectory(prefix="swinstream-lasting-") as folder:
        films = Films(memory, bundle, make_films(refs, Path(folder)))
        path = args.scene or Path(folder) / "scene.mp4"
        if args.scene is None:
            empty_scene(refs[0], path)
        scene = list(read_inputs(path, bundle.spec))
    found = {
        "model": bundle.name,
        "version": bundle.identity,
        "hour_windows": args.windows,
        "recall": recall(memory, films, memory.features(scene), args.windows),
        "drift_windows": args.drift_windows,
        "drift": drift(memory, [i for inputs in films.inputs for i in inputs] + scene, args.drift_windows),
    }
    if args.json:
        print(json.dumps(found))
    else:
        Console().print(*tables(found), sep="\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, TrainError, ValueError) as error:
        sys.exit(f"lasting_state: {error}")
