from __future__ import annotations

import numpy as np
import pytest

from calibration.ranges import LEVELS, Ranges


def rounded(values: np.ndarray, limit: float) -> np.ndarray:
    scale = limit / LEVELS
    return np.clip(np.rint(values / scale), -LEVELS, LEVELS) * scale


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Of a normal distribution, but for one that is far away, in four batches."""
    drawn = np.random.default_rng(0).normal(0, 1, (4, 50_000)).astype(np.float32)
    drawn[2, 7] = -60.0
    return drawn


def test_methods_differ_where_a_value_lies_far_out(values):
    ranges = Ranges()
    for batch in values:
        ranges.add({"x": batch})
    limits = ranges.limits("x")
    assert limits["min-max"] == pytest.approx(60)
    assert limits["percentile"] == pytest.approx(np.quantile(np.abs(values), 0.9999), rel=0.05)
    assert limits["mse"] < 40
    error = {method: np.mean((rounded(values, limit) - values) ** 2) for method, limit in limits.items()}
    assert error["mse"] <= min(error.values()) * 1.05


def test_limits_that_agree_are_one(values):
    ranges = Ranges()
    ranges.add({"even": np.linspace(-2, 2, 10_001, dtype=np.float32), "nothing": np.zeros(9, np.float32)})
    assert ranges.limits("even") == {"min-max": pytest.approx(2)}
    assert ranges.limits("nothing") == {"min-max": 1}


def test_one_value_and_nothing_else_has_a_range():
    ranges = Ranges()
    ranges.add({"same": np.full(100, -3.0, np.float32)})
    assert ranges.limits("same") == {"min-max": 3}
