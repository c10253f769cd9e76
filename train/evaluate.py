"""Evaluation on clips: every clip through the live preprocessing and a compiled engine, state carried inside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.runtime.base import Engine
from engine.softmax import softmax
from stream.clip import ClipBuilder
from stream.failure import SourceError
from train.config import TrainError
from train.data.cache import CacheError
from train.data.clips import ClipRef
from train.data.windows import WindowCache, clip_windows


@dataclass(frozen=True)
class ClipResult:
    """scores: float32 [K+1], mean of the steps' softmax over the whole clip."""

    ref: ClipRef
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClipReport:
    """Fractions over all clips read; mean_class is the mean of the labels' own accuracies. unreadable: file and why."""

    labels: tuple[str, ...]
    results: tuple[ClipResult, ...]
    unreadable: tuple[tuple[ClipRef, str], ...]

    def _ranks(self) -> npt.NDArray[np.int64]:
        """The true label's place in each clip's order of scores, 0 the first."""
        index = {label: i for i, label in enumerate(self.labels)}
        return np.array([int((r.scores > r.scores[index[r.ref.label]]).sum()) for r in self.results], np.int64)

    @property
    def top1(self) -> float:
        return float((self._ranks() == 0).mean())

    @property
    def top1_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of top1."""
        return wilson(int((self._ranks() == 0).sum()), len(self.results))

    @property
    def top5(self) -> float:
        return float((self._ranks() < 5).mean())

    @property
    def mean_class(self) -> float:
        return float(np.mean([right / clips for right, clips in self.by_label().values()]))

    def by_label(self) -> dict[str, tuple[int, int]]:
        """Clips right and clips in all, of every label that has any."""
        right = self._ranks() == 0
        truth = np.array([r.ref.label for r in self.results])
        return {
            label: (int(right[truth == label].sum()), int((truth == label).sum()))
            for label in self.labels
            if label in truth
        }

    def confusion(self) -> npt.NDArray[np.int64]:
        """int64 [K+1, K+1]: clips by true label (row) and recognized label (column)."""
        index = {label: i for i, label in enumerate(self.labels)}
        matrix = np.zeros((len(self.labels), len(self.labels)), np.int64)
        for result in self.results:
            matrix[index[result.ref.label], int(result.scores.argmax())] += 1
        return matrix


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % confidence interval of a share, `right` of `count`, by Wilson's score; (0, 1) of none at all."""
    if not count:
        return 0.0, 1.0
    z2, share = 1.96**2 / count, right / count
    half = math.sqrt(z2 * share * (1 - share) + z2 * z2 / 4)
    low, high = (share + z2 / 2 - half) / (1 + z2), (share + z2 / 2 + half) / (1 + z2)
    return max(0.0, low), min(1.0, high)


def evaluate_clips(
    engine: Engine,
    refs: Sequence[ClipRef],
    on_clip: Callable[[], None] = lambda: None,
    cache: WindowCache | None = None,
) -> ClipReport:
    """Run every clip from a zero state. A clip that can't be read is listed, not left out silently.

    cache: to measure the same clips again without decoding them and computing their flow. Raises CacheError.
    """
    builder = ClipBuilder(engine.spec)
    slot = engine.open_slot()
    results, unreadable = [], []
    for ref in refs:
        engine.reset_slot(slot)
        try:
            scores = [
                softmax(engine.infer([slot], clip.picture, clip.flow).logits[0])
                for clip in (clip_windows(ref, engine.spec, builder) if cache is None else cache.windows(ref))
            ]
        except CacheError:
            raise
        except (SourceError, TrainError) as error:
            unreadable.append((ref, str(error)))
        else:
            results.append(ClipResult(ref, np.concatenate(scores).mean(axis=0)))
        on_clip()
    engine.close_slot(slot)
    return ClipReport(engine.spec.labels, tuple(results), tuple(unreadable))
