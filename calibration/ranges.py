"""Ranges: how far a tensor's int8 values reach, by four methods, from one histogram of its magnitudes.

All ranges are symmetric, -limit to limit, as TensorRT wants them. Whichever method is best for a tensor is not known
beforehand: calibration.search measures it. ONNX Runtime's own collector is not used: its entropy method sums bins in
Python, some ten seconds a tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from calibration.network import Array

Method = Literal["min-max", "percentile", "entropy", "mse"]

LEVELS = 127  # int8 steps on either side of zero
BINS = 2048
PERCENTILE = 99.99
ALIKE = 0.02  # limits that differ by less are one

_Counts = npt.NDArray[np.int64]


class Histogram:
    """Counts of magnitudes in BINS even bins from 0, which double in width when a larger value comes."""

    def __init__(self) -> None:
        self.counts: _Counts = np.zeros(BINS, np.int64)
        self.width = 0.0
        self.most = 0.0

    def add(self, values: Array) -> None:
        magnitudes = np.abs(values.ravel().astype(np.float32))
        self.most = max(self.most, float(magnitudes.max(initial=0)))
        if self.width == 0:
            self.width = self.most / BINS
        if self.width == 0:
            self.counts[0] += len(magnitudes)
            return
        while self.most > self.width * BINS:
            self.width *= 2
            self.counts = np.concatenate((self.counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)))
        places = np.minimum((magnitudes / self.width).astype(np.int64), BINS - 1)
        self.counts += np.bincount(places, minlength=BINS)

    @property
    def limits(self) -> dict[Method, float]:
        """By method, the plainest first; a method that agrees with one before it is left out."""
        if self.most == 0:
            return {"min-max": 1.0}
        found: dict[Method, float] = {
            "min-max": self.most,
            "percentile": self._percentile(),
            "entropy": self._least_divergence(),
            "mse": self._least_squares(),
        }
        kept: dict[Method, float] = {}
        for method, limit in found.items():
            if all(abs(limit - other) > ALIKE * other for other in kept.values()):
                kept[method] = min(limit, self.most)
        return kept

    def _percentile(self) -> float:
        cumulated = np.cumsum(self.counts)
        return self.width * (1 + int(np.searchsorted(cumulated, PERCENTILE / 100 * cumulated[-1])))

    def _least_divergence(self) -> float:
        """TensorRT's former method: the limit at which the rounded distribution tells least from the clipped one."""
        used = int(np.flatnonzero(self.counts)[-1]) + 1
        ends = np.unique(np.linspace(min(LEVELS + 1, used), used, 100).astype(np.int64))
        divergences = [_divergence(self.counts, int(end)) for end in ends]
        return self.width * int(ends[int(np.argmin(divergences))])

    def _least_squares(self) -> float:
        """The limit whose rounding and clipping together have the least mean square."""
        limits = self.most * np.linspace(0.02, 1.0, 99)
        scales = (limits / LEVELS)[:, None]
        middles = self.width * (np.arange(BINS) + 0.5)
        rounded = np.minimum(np.rint(middles / scales), LEVELS) * scales
        return float(limits[((rounded - middles) ** 2 @ self.counts).argmin()])


class Ranges:
    """A histogram of each of some tensors."""

    def __init__(self) -> None:
        self._histograms: dict[str, Histogram] = {}

    def add(self, tensors: Mapping[str, Array]) -> None:
        for name, values in tensors.items():
            self._histograms.setdefault(name, Histogram()).add(values)

    def limits(self, tensor: str) -> dict[Method, float]:
        return self._histograms[tensor].limits


def _divergence(counts: _Counts, end: int) -> float:
    """Kullback-Leibler, nats: values beyond bin `end` clipped to it, against those before it in LEVELS + 1 steps."""
    inside = counts[:end].astype(np.float64)
    if not inside.any():
        return float("inf")
    clipped = inside.copy()
    clipped[-1] += counts[end:].sum()
    step = np.arange(end) * (LEVELS + 1) // end
    present = inside > 0
    share = np.bincount(step, inside) / np.maximum(np.bincount(step, present), 1)
    rounded = np.where(present, share[step], 0.0)
    p, q = clipped / clipped.sum(), rounded / rounded.sum()
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())
