"""`swinstream bench train`. It returns an exit code: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from stream.commands import FAILED, USAGE, guarded, say
from stream.failure import SourceError
from train.config import TrainError, load_train_config

if TYPE_CHECKING:  # torch, which may not be installed
    from train.bench import TrainSpeed


def bench(config_path: Path, steps: int, as_json: bool) -> int:
    """`swinstream bench train`. Returns an exit code: 0 done, 1 failed, 2 wrong usage."""
    err = Console(stderr=True)
    with guarded(err) as code:
        try:
            from train.bench import measure
        except ModuleNotFoundError as error:
            err.print(f"swinstream: training needs {error.name}: pip install 'swinstream[train]'", style="red")
            return USAGE
        try:
            config = load_train_config(config_path)
        except TrainError as error:
            return say(err, error, USAGE)
        try:
            speed = measure(config, steps, err)
        except (TrainError, SourceError) as error:
            return say(err, error, FAILED)
        _show(speed, as_json)
    return code[0]


def _show(speed: TrainSpeed, as_json: bool) -> None:
    if as_json:
        numbers = {
            "clips_per_s": round(speed.clips_per_s, 3),
            "steps_per_s": round(1 / speed.step_s, 4),
            "waiting_share": round(speed.waiting_share, 4),
            "stage_ms": {stage: round(1e3 * seconds, 2) for stage, seconds in speed.stage_s.items()},
        }
        told = speed._asdict() | numbers
        del told["stage_s"]
        sys.stdout.write(json.dumps(told) + "\n")
        return
    table = Table(title=f"a step of {speed.batch} x {speed.windows} windows on {speed.device}, {speed.precision}")
    for column in ("stage", "ms", "share"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, seconds in speed.stage_s.items():
        table.add_row(stage, f"{1e3 * seconds:.1f}", f"{seconds / speed.step_s:.1%}")
    out = Console(highlight=False)
    out.print(table)
    out.print(
        f"{speed.clips_per_s:.1f} clips/s, {1 / speed.step_s:.2f} steps/s; {speed.waiting_share:.1%} of the time waits "
        f"for data, which {speed.workers} processes make"
    )
