"""Stages: a configuration may start from another one, which is then trained first. One command does all of it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from train.config import TrainConfig, load_train_config
from train.loop import train


def is_stage(start: str | None) -> bool:
    """Whether `start` names a configuration."""
    return start is not None and start.endswith((".yaml", ".yml"))


def after_stages(config: TrainConfig, runs: Path, console: Console) -> TrainConfig:
    """Train what comes before, each stage below `runs` under its file's name; returns the configuration that starts
    from the last one's weights. A stage that is finished is not trained again. Raises what `train` raises.
    """
    if config.start is None or not is_stage(config.start):
        return config
    path = Path(config.start)
    before = after_stages(load_train_config(path), runs, console)
    run = runs / path.stem
    console.print(f"before it: {path} in {run}")
    train(before, run, console)
    return config.model_copy(update={"start": str(run / "last.safetensors")})
