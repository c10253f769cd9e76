"""Is the carried state worth having? The same network with it and without, on real and on drawn footage.

    python -m benchmarks.state_worth real [--model BUNDLE] [--data DIR] [--group G ...] [--json]
    python -m benchmarks.state_worth drawn [--steps N] [--seeds N] [--json]

`real`: a trained bundle on clips joined to films, the state carried, and zeroed before every window; films of other
seeds join the clips in another order, and their windows begin elsewhere. The bundle was trained with the state
carried, so without one it is not at its best.

`drawn`: small networks trained either way from the same weights on the same sequences, of which only what came before
tells the label: the drawn actor acts for one window, and for three more a wall is in the way, the same for all labels.
Without a state nothing above chance can be had there; the question is how much of the rest a state brings.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.memory_alone import MemoryAlone, read_anywhere, traced
from engine.bundle import Bundle
from engine.network.recognizer import Recognizer
from engine.network.weights import load_recognizer
from engine.softmax import softmax
from engine.spec import ModelSpec, NetworkSpec
from stream.clip import ClipBuilder
from stream.demo.scene import clip
from stream.frame import NS_PER_S, ClockSource, StreamKey, Window
from stream.thresholds import Thresholds
from train.config import TrainError
from train.data.clips import ClipRef, data_root
from train.data.segments import film, footage_of, random_view
from train.detection import EventReport, frame_map, labels_at
from train.films import make_films
from train.online import events_in
from train.selection import select_clips

WAYS = ("carried", "zeroed")

ACTIONS = ("bend", "jack", "walk", "wave2")
HIDDEN_WINDOWS = 3
SPEC = ModelSpec(
    name="worth",
    version="1",
    labels=(*ACTIONS, "none"),
    modality="rgb+flow",
    ticks=8,
    rate_hz=8,
    height=32,
    width=32,
    network=NetworkSpec(
        embed_dim=32,
        depths=(1,),
        heads=(2,),
        window=(4, 4, 4),
        stem="conv",
        stem_channels=(16, 32),
        pool="max",
        memory="head",
        memory_channels=32,
    ),
)


# ---- real


def real(bundle: Bundle, refs: Sequence[ClipRef], seeds: int) -> list[dict[str, float]]:
    """A row for each seed and way: shares of steps and of actions recognized."""
    memory = MemoryAlone(load_recognizer(bundle))
    thresholds = Thresholds.parse(bundle.thresholds)
    rules, labels = thresholds.rules(bundle.spec.actions, {}), bundle.spec.labels
    rows = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory(prefix="swinstream-worth-") as folder:
            films = make_films(refs, Path(folder), seed=seed)
            inputs = read_anywhere([film.path for film in films], bundle.spec, seed)
        features = [memory.features(of) for of in inputs]
        for way in WAYS:
            traces = []
            for given, maps in zip(inputs, features, strict=True):
                logits, _ = memory.run(maps, memory.zero(), [way == "zeroed"] * len(maps))
                traces.append(traced(memory, given, logits))
            truth = np.concatenate([labels_at(f.truth, t.steps_ns, labels) for f, t in zip(films, traces, strict=True)])
            told = np.concatenate([t.logits.reshape(-1, len(labels)) for t in traces])
            acting = truth != len(labels) - 1
            right = told.argmax(-1) == truth
            true_score = softmax(told)[np.arange(len(truth)), truth]
            events = tuple(tuple(events_in(t, rules, thresholds.temperature)) for t in traces)
            report = EventReport(tuple(films), events)
            rows.append(
                {
                    "seed": seed,
                    "carried": way == "carried",
                    "steps_right": float(right.mean()),
                    "action_steps_right": float(right[acting].mean()),
                    "true_score": float(true_score.mean()),
                    "frame_map": frame_map(traces, [f.truth for f in films]),
                    "actions_right": report.score.right / report.score.expected,
                    "recall_iou0.5": report.match(0.5).recall,
                    "precision_iou0.5": report.match(0.5).precision,
                    "false_events": report.score.false_events,
                }
            )
    return rows


# ---- drawn


class Sequences(NamedTuple):
    """picture uint8 [N, L, Tp, H, W, 3], flow float16 [N, L, Tf, 2, H, W], label int64 [N]."""

    picture: Tensor
    flow: Tensor
    label: Tensor


def draw(count: int, seed: int) -> Sequences:
    """`count` sequences: an action for a window, then a grey wall, with the camera's noise, for HIDDEN_WINDOWS."""
    builder, rng = ClipBuilder(SPEC), np.random.default_rng(seed)
    ticks = SPEC.ticks * (1 + HIDDEN_WINDOWS)
    pts_ns = np.round((np.arange(ticks) / SPEC.rate_hz + 1) * NS_PER_S).astype(np.int64)
    pictures, flows, labels = [], [], []
    for number in range(count):
        label = number % len(ACTIONS)
        frames = clip(rng, ACTIONS[label], SPEC.window_s, SPEC.rate_hz, width=80, height=60)
        seen = film(SPEC, footage_of(list(frames)), np.arange(SPEC.ticks), random_view(rng, 0.3))
        wall = np.full((ticks - SPEC.ticks, *seen.shape[1:]), 128.0)
        wall[:, : SPEC.height] += rng.normal(0, 2, (len(wall), SPEC.height, SPEC.width))
        planes = np.concatenate([seen, wall.astype(np.uint8)])
        windows = [
            Window(StreamKey("drawn", "full"), 0, i, planes[part], pts_ns[part], 0, 0, ClockSource.ARRIVAL)
            for i, part in enumerate(slice(i, i + SPEC.ticks) for i in range(0, ticks, SPEC.ticks))
        ]
        picture, flow = builder.build(windows)
        pictures.append(picture)
        flows.append(flow)
        labels.append(label)
    return Sequences(
        torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(flows)), torch.tensor(labels, dtype=torch.int64)
    )


def train(sequences: Sequences, carried: bool, steps: int, seed: int) -> Recognizer:
    """From the seed's weights, every window's steps count alike; `carried` False: zeroed before every window."""
    torch.manual_seed(seed)
    model = Recognizer(SPEC)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    order = np.random.default_rng(seed)
    for _ in range(steps):
        rows = torch.from_numpy(order.choice(len(sequences.label), 16, replace=False))
        optimizer.zero_grad()
        loss = F.cross_entropy(*_answers(model, sequences, rows, carried))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def _answers(model: Recognizer, sequences: Sequences, rows: Tensor, carried: bool) -> tuple[Tensor, Tensor]:
    """logits [N*L*S, K+1] and their labels [N*L*S]."""
    windows = sequences.picture.shape[1]
    reset = None if carried else torch.ones((len(rows), windows), dtype=torch.bool)
    out = model.forward_sequence(sequences.picture[rows], sequences.flow[rows], reset=reset)
    label = sequences.label[rows].repeat_interleave(windows * SPEC.steps)
    return out.logits.flatten(0, 2), label


def drawn(seeds: int, steps: int, count: int) -> list[dict[str, float]]:
    """A row for each seed and way, told as it comes: shares of steps right, on sequences never trained on."""
    rows = []
    for seed in range(seeds):
        training, tests = draw(count, seed), draw(count // 2, seed + 1000)
        for way in WAYS:
            model = train(training, way == "carried", steps, seed)
            with torch.inference_mode():
                logits, label = _answers(model, tests, torch.arange(len(tests.label)), way == "carried")
            right = (logits.argmax(-1) == label).reshape(len(tests.label), 1 + HIDDEN_WINDOWS, SPEC.steps).float()
            hidden = [float(right[:, 1 + n].mean()) for n in range(HIDDEN_WINDOWS)]
            rows.append(
                {"seed": seed, "carried": way == "carried", "seen": float(right[:, 0].mean())}
                | {f"hidden_{n + 1}": share for n, share in enumerate(hidden)}
            )
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)  # it takes half an hour: what there is, is kept
    return rows


def table(title: str, rows: Sequence[dict[str, float]]) -> Table:
    """Mean and standard deviation over the seeds, a column for each way, and their difference, seed by seed."""
    shown = Table("", *WAYS, "carried - zeroed", title=title, title_justify="left")
    for name in (key for key in rows[0] if key not in {"seed", "carried"}):
        carried, zeroed = (np.array([row[name] for row in rows if row["carried"] == way]) for way in (True, False))
        values = (f"{of.mean():.3f} ± {of.std():.3f}" for of in (carried, zeroed, carried - zeroed))
        shown.add_row(name.replace("_", " "), *values)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="what", required=True)
    on_real, on_drawn = commands.add_parser("real"), commands.add_parser("drawn")
    on_real.add_argument("--model", default="movements", help="a shipped model's name, or a bundle's folder")
    on_real.add_argument("--data", type=Path, default=data_root() / "weizmann", help="clips, in a folder per label")
    on_real.add_argument("--group", action="append", default=[], help="only clips of this group")
    on_drawn.add_argument("--steps", type=int, default=250)
    on_drawn.add_argument("--count", type=int, default=240, help="training sequences")
    for command in (on_real, on_drawn):
        command.add_argument("--seeds", type=int, default=3)
        command.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"what": args.what}
    if args.what == "real":
        bundle = Bundle.load(args.model)
        refs = select_clips(args.data, bundle.spec, groups=args.group).refs
        found |= {"model": bundle.name, "version": bundle.identity, "clips": len(refs)}
        found["rows"] = real(bundle, refs, args.seeds)
        title = f"{bundle.name} ({bundle.identity}), {len(refs)} clips joined in {args.seeds} orders"
    else:
        found["rows"] = drawn(args.seeds, args.steps, args.count)
        title = f"label known from the first window only: {args.seeds} seeds, chance {1 / len(ACTIONS):.2f}"
    if args.json:
        print(json.dumps(found))
    else:
        Console().print(table(title, found["rows"]))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, TrainError, ValueError) as error:
        sys.exit(f"state_worth: {error}")
