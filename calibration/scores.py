"""Scores: how far a model's probabilities can be believed, and the temperature that makes them so.

Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017): logits are divided by one
number before the softmax. It changes no order of labels, only how sure the scores sound. The number is fitted on single
steps, which is what the EventMachine reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from calibration.trace import Trace
from engine.softmax import softmax

BINS = 15
LOG_RANGE = (-2.3, 2.3)  # temperatures from 0.1 to 10
MAX_FOLDS = 5


@dataclass(frozen=True)
class Reliability:
    """confidence, accuracy: means by bin of the top score, float64 [BINS], NaN where empty; count: int64 [BINS].

    nll: mean negative log-likelihood, nats a step. ece: expected calibration error, 0..1.
    """

    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    nll: float

    @property
    def ece(self) -> float:
        gap = np.abs(np.nan_to_num(self.confidence - self.accuracy))
        return float((gap * self.count).sum() / self.count.sum())


@dataclass(frozen=True)
class ScoreCalibration:
    """before: with the bundle's temperature. after: each group's steps with a temperature fitted on other groups."""

    temperature: float
    was: float
    before: Reliability
    after: Reliability
    clips: int
    groups: int

    @property
    def helps(self) -> bool:
        return self.after.nll < self.before.nll


def calibrate_scores(clips: Sequence[Trace], was: float) -> ScoreCalibration:
    """clips: traces of labelled recordings, of two groups (`Recording.camera`) or more. was: the bundle's temperature.

    Raises ValueError for fewer groups: nothing would be left to measure on.
    """
    labels = {label: i for i, label in enumerate(clips[0].spec.labels)}
    logits = [clip.logits.reshape(-1, len(labels)) for clip in clips]
    truth = [np.full(len(rows), labels[clip.recording.label or ""]) for rows, clip in zip(logits, clips, strict=True)]
    groups = sorted({clip.recording.camera for clip in clips})
    if len(groups) < 2:
        raise ValueError(
            f"all clips are of one group ({groups[0]}): two are needed, one to fit on and one to measure on; "
            "name groups in a split.csv with the columns path and group"
        )
    folds = [groups.index(clip.recording.camera) % MAX_FOLDS for clip in clips]
    fitted = {fold: _fitted([i for i, f in enumerate(folds) if f != fold], logits, truth) for fold in set(folds)}
    scores = [softmax(rows / fitted[fold]) for fold, rows in zip(folds, logits, strict=True)]
    every = np.concatenate(truth)
    return ScoreCalibration(
        _fitted(range(len(clips)), logits, truth),
        was,
        reliability(softmax(np.concatenate(logits) / was), every),
        reliability(np.concatenate(scores), every),
        len(clips),
        len(groups),
    )


def fit_temperature(logits: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float:
    """The temperature of least negative log-likelihood. logits: [n, K+1]; truth: [n]."""
    found = minimize_scalar(
        lambda log_t: _nll(softmax(logits / np.exp(log_t)), truth), bounds=LOG_RANGE, method="bounded"
    )
    return float(np.exp(found.x))


def reliability(scores: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> Reliability:
    """scores: [n, K+1], rows of sum 1; truth: [n]."""
    top = scores.max(axis=1).astype(np.float64)
    right = (scores.argmax(axis=1) == truth).astype(np.float64)
    bins = np.minimum((top * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins, top, BINS) / count
        accuracy = np.bincount(bins, right, BINS) / count
    return Reliability(confidence, accuracy, count, _nll(scores, truth))


def _fitted(
    chosen: Sequence[int], logits: Sequence[npt.NDArray[np.float32]], truth: Sequence[npt.NDArray[np.int64]]
) -> float:
    return fit_temperature(np.concatenate([logits[i] for i in chosen]), np.concatenate([truth[i] for i in chosen]))


def _nll(scores: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float:
    return float(-np.log(np.maximum(scores[np.arange(len(truth)), truth], 1e-12)).mean())
