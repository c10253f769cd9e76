"""Events on clips of groups left out: how many clips of an action have one, and how many clips of none, by score.

    swinstream train configs/train/fight.yaml --folds
    python -m benchmarks.left_out_events configs/train/fight.yaml [--run FOLDER] [--enter SCORE ...] [--json]

Each clip is seen by the network of the fold that left its group out, from a zero state, and becomes events by the
configuration's thresholds but for `enter`, with `exit` in proportion. A fold that is not trained yet is trained first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from calibration.thresholds import with_enters
from engine.spec import NONE_LABEL
from stream.failure import SourceError
from stream.thresholds import Thresholds
from train.config import TrainConfig, TrainError, load_train_config
from train.data.split import find_split
from train.folds import find_folds, fold_folder, without
from train.loop import train
from train.online import events_in, trace
from train.torch_engine import TorchEngine

ENTERS = (0.7, 0.8, 0.84, 0.88, 0.9)


def measure(config: TrainConfig, run: Path, enters: Sequence[float], console: Console) -> list[dict[str, float]]:
    """A row for each score. Raises TrainError, and SourceError for a clip that cannot be read."""
    if config.folds is None:
        raise TrainError("the configuration names no folds")
    thresholds = Thresholds.parse(config.thresholds)
    labels = config.model.actions
    present = thresholds.rules(labels, {})
    rules = [with_enters(present, dict.fromkeys(labels, enter)) for enter in enters]
    clips: Counter[bool] = Counter()
    found: list[Counter[bool]] = [Counter() for _ in enters]
    refs = find_split(config.data, labels).train
    for fold in find_folds(config.folds, refs):
        engine = TorchEngine(train(without(config, fold), fold_folder(run, fold), console).cpu().eval())
        left_out = [ref for ref in refs if ref.group in fold.groups]
        for ref in track(left_out, f"fold {fold.name}", console=Console(stderr=True), transient=True):
            told, acts = trace(engine, ref.path), ref.label != NONE_LABEL
            clips[acts] += 1
            for counted, rule in zip(found, rules, strict=True):
                events = events_in(told, rule, thresholds.temperature)
                counted[acts] += any(event.span.label == ref.label for event in events) if acts else bool(events)
    return [
        {
            "enter": enter,
            "actions": clips[True],
            "actions_told": counted[True],
            "none": clips[False],
            "none_told": counted[False],
        }
        for enter, counted in zip(enters, found, strict=True)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--run", type=Path, help="of `train --folds`; default: runs/ and the configuration's name")
    parser.add_argument("--enter", type=float, action="append", default=[], help=f"default: {ENTERS}")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    config = load_train_config(args.config)
    rows = measure(config, args.run or Path("runs") / args.config.stem, args.enter or ENTERS, Console(quiet=True))
    if args.json:
        print(json.dumps({"model": config.model.name, "rows": rows}))
        return 0
    shown = Table("enter", "clips of actions with their event", "clips of none with an event")
    for row in rows:
        shares = (
            f"{row[told]} of {row[of]}, {row[told] / max(1, row[of]):.1%}"
            for told, of in (("actions_told", "actions"), ("none_told", "none"))
        )
        shown.add_row(f"{row['enter']:g}", *shares)
    Console().print(shown)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, SourceError, TrainError) as error:
        sys.exit(f"left_out_events: {error}")
