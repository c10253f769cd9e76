"""What so much quiet footage says of the rate of false events: one-sided bounds for events in bursts.

A Poisson count has a variance as large as its mean. False events have a larger one: a hand that was mistaken once
reaches again, and one scene has more of them than another. By that ratio, the index of dispersion, both the events
counted and the footage count for less (a quasi-Poisson model: Wedderburn, 1974).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

CONFIDENCE = 0.95
_UNITS = {"hour": 1.0, "h": 1.0, "day": 24.0, "d": 24.0, "week": 168.0}


class BudgetError(ValueError):
    """A budget that cannot be read, or that the footage cannot support."""


@dataclass(frozen=True)
class Budget:
    """False events allowed, of all labels together, for one camera."""

    per_hour: float
    text: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`0.5/day`, `2/hour`, `1/week`. Raises BudgetError."""
        match = re.fullmatch(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*/\s*([a-z]+)\s*", text)
        try:
            if match is None or float(match[1]) <= 0:
                raise ValueError
            return cls(float(match[1]) / _UNITS[match[2]], text.strip())
        except (KeyError, ValueError):
            raise BudgetError(f"budget '{text}': expected false events per time, such as 0.5/day or 2/hour") from None

    @property
    def hours_needed(self) -> float:
        """Quiet footage without a single false event that supports this budget: 3.0 divided by the rate."""
        return upper_bound(0, 1.0) / self.per_hour


def upper_bound(events: int, hours: float, dispersion: float = 1.0) -> float:
    """Events an hour that the true rate is below with 95 % confidence (Garwood, 1936): exact for a Poisson count."""
    return dispersion * float(chi2.ppf(CONFIDENCE, 2 * events / dispersion + 2)) / 2 / hours


def dispersion(counts: Sequence[int]) -> float:
    """Variance by mean of the events in pieces of equal length: 1 for a Poisson count, and never taken for less."""
    if len(counts) < 2 or not any(counts):
        return 1.0
    return max(1.0, float(np.var(counts, ddof=1) / np.mean(counts)))
