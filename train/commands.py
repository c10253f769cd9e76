"""The training command. It returns an exit code: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from stream.commands import FAILED, USAGE, guarded, say
from stream.failure import SourceError
from train.config import TrainError, load_train_config


def train(
    config_path: Path,
    run: Path | None,
    overrides: Sequence[str] = (),
    device: str | None = None,
    cross_validate: bool = False,
) -> int:
    """`swinstream train`; cross_validate: its folds, and no bundle.

    Under torchrun every process runs it, and the first one talks, except of errors.
    """
    err = Console(stderr=True)
    with guarded(err) as code:
        try:
            from train.bundle import make_bundle
            from train.distributed import Ranks
            from train.folds import run_folds, show_folds
            from train.loop import train as loop
            from train.stages import after_stages
        except ModuleNotFoundError as error:
            err.print(f"swinstream: training needs {error.name}: pip install 'swinstream[train]'", style="red")
            return USAGE
        try:
            config = load_train_config(config_path, [*overrides, *([f"device={device}"] if device else [])])
        except TrainError as error:
            return say(err, error, USAGE)
        try:
            folder = run or Path("runs") / config_path.stem
            first = Ranks.from_environment().first
            console = err if first else Console(quiet=True)
            config = after_stages(config, folder.parent, console)
            if cross_validate:
                show_folds(run_folds(config, folder, console), console)
                return code[0]
            model = loop(config, folder, console)
            if first:
                bundle = make_bundle(model, config, folder / "bundle")
                err.print(f"bundle: {bundle.path}")
        except (TrainError, SourceError, OSError, RuntimeError) as error:
            if (told := _failure(error)) is None:
                raise
            return say(err, told, FAILED)
    return code[0]


def _failure(error: Exception) -> str | None:
    """What to tell of an error in training; None: it is a mistake of ours.

    torch raises what happened in a process that prepares data again here, with that process's traceback as its
    text, and as a RuntimeError where it cannot make the original: the last line then says what it was.
    """
    last = str(error).strip().rpartition("\n")[2]
    if " in DataLoader worker process " not in str(error):
        return None if isinstance(error, RuntimeError) else str(error)
    name, _, text = last.partition(": ")
    told = name.rpartition(".")[2] in {TrainError.__name__, SourceError.__name__, "CacheError"}
    return text if told else None
