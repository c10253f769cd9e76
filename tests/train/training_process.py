"""A training run as a process of its own: CONFIG.yaml, the run's folder, and the step in which it kills itself."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from train import loop
from train.config import load_train_config


def kill_in(step: int) -> None:
    """SIGKILL in the middle of a step: the weights are new, nothing of it is written."""
    real, calls = loop.update_average, [0]

    def update(*args: Any) -> None:
        calls[0] += 1
        if calls[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*args)

    loop.update_average = update


if __name__ == "__main__":
    if len(sys.argv) > 3:
        kill_in(int(sys.argv[3]))
    loop.train(load_train_config(Path(sys.argv[1])), Path(sys.argv[2]), Console(quiet=True))
