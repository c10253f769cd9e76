"""What a step of training costs, stage by stage, and how long it waits for its data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from engine.network.recognizer import Recognizer
from train.batches import PREFETCHED, batches
from train.config import TrainConfig
from train.data.sequences import SequenceDataset
from train.device import pick_device, pick_precision
from train.distributed import Ranks
from train.objective import Objective
from train.optimizer import make_optimizer, update_average
from train.stepper import Stepper

STAGES = ("data", "forward", "backward", "optimizer", "rest")


class TrainSpeed(NamedTuple):
    """clips_per_s: windows of the network. stage_s: seconds of a mean step; `data` is waiting for the next batch."""

    steps: int
    batch: int
    windows: int
    device: str
    precision: str
    workers: int
    stage_s: dict[str, float]

    @property
    def step_s(self) -> float:
        return sum(self.stage_s.values())

    @property
    def clips_per_s(self) -> float:
        return self.batch * self.windows / self.step_s

    @property
    def waiting_share(self) -> float:
        return self.stage_s["data"] / self.step_s


class Stopwatch:
    """Seconds by stage. A stage lasts until the next mark; work that a GPU still has in hand is waited for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stage = "rest"
        self._since = time.perf_counter()
        self.reset()

    def mark(self, stage: str) -> None:
        """The stage so far is over, and `stage` begins."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.seconds[self._stage] += now - self._since
        self._stage, self._since = stage, now

    def reset(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def on(self, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Inside, forward, backward and optimizer mark themselves."""

        def begun(module: torch.nn.Module, _: Any) -> None:
            if isinstance(module, Objective):
                self.mark("forward")

        def done(module: torch.nn.Module, *_: Any) -> None:
            if isinstance(module, Objective):
                self.mark("backward")

        hooks = [
            register_module_forward_pre_hook(begun),
            register_module_forward_hook(done),
            optimizer.register_step_pre_hook(lambda *_: self.mark("optimizer")),
            optimizer.register_step_post_hook(lambda *_: self.mark("rest")),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def measure(config: TrainConfig, steps: int, console: Console) -> TrainSpeed:
    """Train `steps` steps of the first phase and throw the weights away. Raises what training raises.

    As many steps before them as batches are made ahead are not counted: the wait for data shows what lasts.
    """
    ahead = PREFETCHED * max(1, config.workers)
    phase = config.phases[0].model_copy(update={"steps": ahead + steps})
    config = config.model_copy(update={"phases": (phase,)})
    device, ranks = pick_device(config), Ranks()
    precision = pick_precision(config.precision, device)
    dataset = SequenceDataset(config, console)
    torch.manual_seed(config.seed)
    model, average = (
        Recognizer(config.model, drop_path=config.optim.drop_path, dropout=config.optim.dropout).to(device)
        for _ in range(2)
    )
    optimizer = make_optimizer(model, config.optim)
    stepper = Stepper(model, optimizer, config, ranks, precision)
    watch = Stopwatch(device)
    with watch.on(optimizer):
        made = batches(dataset, config, ranks, 0)
        for number in track(range(config.steps), "measuring", console=console, transient=True):
            watch.mark("data")
            if number == ahead:
                watch.reset()
            batch = next(made)
            watch.mark("rest")
            stepper.step(batch)
            update_average(average, model, config.optim.ema)
        watch.mark("rest")
    stage_s = {stage: seconds / steps for stage, seconds in watch.seconds.items()}
    kind = str(precision).removeprefix("torch.")
    return TrainSpeed(steps, phase.batch, phase.windows, device.type, kind, config.workers, stage_s)
