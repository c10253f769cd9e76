"""Evaluation on clips: every clip through the live preprocessing and a compiled engine, state carried inside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.runtime.base import Engine
from stream.clip import ClipBuilder
from stream.failure import SourceError
from stream.reader import read_windows
from train.data.clips import ClipRef


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
    def top5(self) -> float:
        return float((self._ranks() < 5).mean())

    @property
    def mean_class(self) -> float:
        right = self._ranks() == 0
        truth = np.array([r.ref.label for r in self.results])
        return float(np.mean([right[truth == label].mean() for label in np.unique(truth)]))

    def confusion(self) -> npt.NDArray[np.int64]:
        """int64 [K+1, K+1]: clips by true label (row) and recognized label (column)."""
        index = {label: i for i, label in enumerate(self.labels)}
        matrix = np.zeros((len(self.labels), len(self.labels)), np.int64)
        for result in self.results:
            matrix[index[result.ref.label], int(result.scores.argmax())] += 1
        return matrix


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Over the last axis."""
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=-1, keepdims=True), np.float32)


def evaluate_clips(engine: Engine, refs: Sequence[ClipRef], on_clip: Callable[[], None] = lambda: None) -> ClipReport:
    """Run every clip from a zero state. A clip that can't be read is listed, not left out silently."""
    builder = ClipBuilder(engine.spec)
    slot = engine.open_slot()
    results, unreadable = [], []
    for ref in refs:
        engine.reset_slot(slot)
        scores = []
        try:
            for window in read_windows(ref.path, engine.spec):
                picture, flow = builder.build([window])
                scores.append(softmax(engine.infer([slot], picture, flow).logits[0]))
        except SourceError as error:
            unreadable.append((ref, str(error)))
        else:
            if scores:
                results.append(ClipResult(ref, np.concatenate(scores).mean(axis=0)))
            else:
                unreadable.append((ref, f"shorter than half a window ({engine.spec.window_s / 2:g} s)"))
        on_clip()
    engine.close_slot(slot)
    return ClipReport(engine.spec.labels, tuple(results), tuple(unreadable))
