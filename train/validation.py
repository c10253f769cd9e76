"""Validation: the averaged weights on held-out clips while training goes on; what is best, and when to stop."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.network.recognizer import Recognizer
from engine.runtime.base import Inference
from train.config import TrainConfig, TrainError
from train.data.cache import cache_folder
from train.data.clips import ClipRef
from train.data.windows import WindowCache
from train.distributed import Ranks, gathered
from train.evaluate import ClipReport, evaluate_clips
from train.torch_engine import TorchEngine


class StatelessEngine(TorchEngine):
    """Forgets before every window: how a network that was trained without carried state is to be measured."""

    def infer(self, slots: Sequence[int], picture: npt.NDArray[np.uint8], flow: npt.NDArray[np.float16]) -> Inference:
        """See Engine."""
        for slot in slots:
            self.reset_slot(slot)
        return super().infer(slots, picture, flow)


def clip_loss(report: ClipReport) -> float:
    """Mean of -log(score of the true label) over the clips."""
    index = {label: i for i, label in enumerate(report.labels)}
    scores = [float(result.scores[index[result.ref.label]]) for result in report.results]
    return float(-np.log(np.maximum(scores, 1e-12)).mean())


class Validation:
    """Measures, and remembers which step was best: by clips right, and where they are equal by loss."""

    def __init__(self, config: TrainConfig, refs: Sequence[ClipRef], ranks: Ranks) -> None:
        self._config, self._refs, self._ranks = config, refs, ranks
        self._cache = WindowCache(cache_folder(config.data.cache), config.model)
        self._best: list[float] | None = None  # top1, -loss
        self._worse = 0  # validations since the best

    def is_due(self, step: int) -> bool:
        """After `step` finished steps."""
        return bool(self._refs) and (step % self._config.validation.every == 0 or step == self._config.steps)

    def measure(self, average: Recognizer) -> ClipReport:
        """The report on all held-out clips; the processes share the work. Raises TrainError if none can be read."""
        # A copy on the CPU: clips come one by one, and a GPU would wait for them anyway.
        engine = (StatelessEngine if self._config.stateless else TorchEngine)(copy.deepcopy(average).cpu())
        mine = evaluate_clips(engine, [self._refs[i] for i in self._ranks.share(len(self._refs))], cache=self._cache)
        parts = gathered(self._ranks, mine)
        results = tuple(result for part in parts for result in part.results)
        unreadable = tuple(clip for part in parts for clip in part.unreadable)
        if not results:
            raise TrainError(f"none of the clips to validate on can be read; the first: {unreadable[0][1]}")
        return ClipReport(mine.labels, results, unreadable)

    def is_better(self, report: ClipReport) -> bool:
        """Whether this is the best report so far, which is then remembered."""
        value = [report.top1, -clip_loss(report)]
        better = self._best is None or value > self._best
        if better:
            self._best = value
        self._worse = 0 if better else self._worse + 1
        return better

    @property
    def is_over(self) -> bool:
        """Whether the patience with worse validations is used up."""
        patience = self._config.validation.patience
        return patience is not None and self._worse >= patience

    @property
    def memory(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"best": self._best, "worse": self._worse}

    def recall(self, memory: dict[str, Any]) -> None:
        """From the checkpoint."""
        if memory:
            self._best, self._worse = memory["best"], memory["worse"]
