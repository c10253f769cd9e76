"""Does a state last? Recall after an hour of empty scene, and what bf16 makes of 10,000 windows.

    python -m benchmarks.lasting_state [--model BUNDLE] [--data DIR] [--group G ...] [--scene FILE]
                                       [--skipped SHARE ...] [--json]

The clips of `--data` are joined to films (train.films), whose windows begin anywhere. Their events are counted from a
zero state and from the state that an hour of an empty scene leaves, with every window computed, and with a share of
them skipped at random, as under load: a skipped window leaves the state as it is, and four in a row zero it. The scene
is a file, or the median picture of the first clip with a camera's noise, as H.264, in windows drawn at random. Exit
code 1 where the hour costs more than two points.

Drift: the same windows, films and scene by turns, in f32 and in bf16, each with its own state. *emulated*, on any CPU:
torch, with the memory's weights, features, states and logits rounded to bf16, the states between windows; sums stay in
f32, as hardware keeps them, and what a CPU rounds within a window is not in it. *served*, where the CPU computes in
bf16: the OpenVINO engine that recognizes cameras.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.memory_alone import MemoryAlone, read_anywhere, traced
from engine.bundle import Bundle
from engine.network.convlstm import State
from engine.network.weights import load_recognizer
from engine.runtime.base import EngineError
from engine.runtime.openvino import CPUPrecision, OpenVINOEngine
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
ALLOWED_POINTS = 2.0
NOISE = 2.0  # grey levels
SCENE_S = 30.0
BLOCKS = 10

Network = Callable[[int], tuple[F32, F32]]
"""The next window, by its index -> its logits [1, S, K+1] and the hidden state after it. It remembers its state."""


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
        self.inputs = read_anywhere([film.path for film in films], bundle.spec, seed=0)
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


def recall(
    memory: MemoryAlone, films: Films, scene: Tensor, hour: int, skipped: Sequence[float]
) -> list[dict[str, Any]]:
    """A row for no window skipped and each share: actions recognized from a zero state, and after the empty scene."""
    rows = []
    for share, seeds in ((0.0, range(1)), *((share, range(SEEDS)) for share in skipped)):
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


def exact(memory: MemoryAlone, inputs: Sequence[Input]) -> Network:
    """torch in f32."""
    features, state = memory.features(inputs), memory.zero()

    def network(window: int) -> tuple[F32, F32]:
        nonlocal state
        logits, state = memory.run(features[window : window + 1], state)
        return logits, state[0].numpy()

    return network


def emulated(memory: MemoryAlone, inputs: Sequence[Input]) -> Network:
    """The same, rounded to bf16 between its parts."""
    memory = MemoryAlone(copy.deepcopy(memory.model))
    for parameter in memory.model.parameters():
        parameter.data = in_bf16(parameter.data)
    features, state = in_bf16(memory.features(inputs)), memory.zero()

    def network(window: int) -> tuple[F32, F32]:
        nonlocal state
        logits, (hidden, cell) = memory.run(features[window : window + 1], state)
        state = in_bf16(hidden), in_bf16(cell)
        return in_bf16(torch.from_numpy(logits)).numpy(), state[0].numpy()

    return network


def served(bundle: Bundle, precision: CPUPrecision, inputs: Sequence[Input]) -> Network:
    """The engine of the service. Raises EngineError where the CPU lacks the precision."""
    engine = OpenVINOEngine(bundle, precision=precision)
    slot = engine.open_slot()

    def network(window: int) -> tuple[F32, F32]:
        logits = engine.infer([slot], inputs[window].picture, inputs[window].flow).logits
        return np.array(logits), np.array(engine.state(slot)[0])

    return network


def drift(fine: Network, rough: Network, order: Sequence[int]) -> list[dict[str, float]]:
    """`rough` against `fine` over windows in this order: a row for each tenth of them."""
    rows = []
    for block in np.array_split(order, BLOCKS):
        pairs = [(fine(int(window)), rough(int(window))) for window in block]
        states = [float(np.abs(state - other).max()) for (_, state), (_, other) in pairs]
        logits, others = (np.concatenate([pair[which][0] for pair in pairs]) for which in (0, 1))
        rows.append(_difference(logits, others, max(states)))
    return rows


def stretches(inputs: int, windows: int) -> list[int]:
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
    shown = [kept]
    for how, rows in found["drift"].items():
        drifted = Table(title=f"bf16 ({how}) against f32", title_justify="left")
        for name in ("windows up to", "state, max", "logit, max", "score, max", "score, mean", "same label"):
            drifted.add_column(name, justify="right")
        for number, row in enumerate(rows, 1):
            values = (f"{row[key]:.4f}" for key in ("state_max", "logit_max", "score_max", "score_mean"))
            drifted.add_row(str(number * found["drift_windows"] // BLOCKS), *values, f"{row['same_label']:.2%}")
        shown.append(drifted)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="movements", help="a shipped model's name, or a bundle's folder")
    parser.add_argument("--data", type=Path, default=data_root() / "weizmann", help="clips, in a folder per label")
    parser.add_argument("--group", action="append", default=[], help="only clips of this group")
    parser.add_argument("--scene", type=Path, help="footage of an empty scene")
    parser.add_argument("--windows", type=int, default=3600, help="of empty scene")
    parser.add_argument("--skipped", type=float, action="append", default=[], help=f"share; default: {SKIPPED}")
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
    rows = recall(memory, films, memory.features(scene), args.windows, args.skipped or [SKIPPED])
    inputs = [i for given in films.inputs for i in given] + scene
    order = stretches(len(inputs), args.drift_windows)
    drifts = {"emulated": drift(exact(memory, inputs), emulated(memory, inputs), order)}
    try:
        fast = served(bundle, "bf16", inputs)
    except EngineError as error:
        Console(stderr=True).print(f"not measured as served: {error}", highlight=False, soft_wrap=True)
    else:
        drifts["served"] = drift(served(bundle, "fp32", inputs), fast, order)
    found = {
        "model": bundle.name,
        "version": bundle.identity,
        "hour_windows": args.windows,
        "recall": rows,
        "drift_windows": args.drift_windows,
        "drift": drifts,
    }
    if args.json:
        print(json.dumps(found))
    else:
        Console().print(*tables(found), sep="\n")
    return 1 if any(row["points"] < -ALLOWED_POINTS for row in rows) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, TrainError, ValueError) as error:
        sys.exit(f"lasting_state: {error}")
