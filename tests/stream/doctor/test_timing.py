from __future__ import annotations

import numpy as np
import pytest

from stream.doctor.timing import rtp_ns, timing
from stream.frame import NS_PER_S

FRAME_NS = NS_PER_S // 25


def test_a_fast_clock_and_uneven_arrivals() -> None:
    late_ns = np.random.default_rng(1).normal(0, 5e6, 2500)
    stream = [n * FRAME_NS for n in range(2500)]
    arrival = [round(10**15 + t / (1 + 200e-6) + late) for t, late in zip(stream, late_ns, strict=True)]
    seen = timing(arrival, stream)
    assert seen is not None
    assert abs(seen.drift_ppm - 200) < seen.drift_error_ppm < 20
    assert seen.jitter_ms == pytest.approx(5 * np.sqrt(2 / np.pi), rel=0.1)


def test_pictures_that_are_late_together_count_as_fewer() -> None:
    """Delays that wander: the true drift, none, is within the error for most; taken as independent, half."""
    random, inside = np.random.default_rng(2), 0
    for _ in range(100):
        late_ns, wandering = [], 0.0
        for step in random.normal(0, 3e6, 250):
            wandering = 0.8 * wandering + step
            late_ns.append(round(wandering))
        stream = [n * FRAME_NS for n in range(250)]
        seen = timing([t + late for t, late in zip(stream, late_ns, strict=True)], stream)
        assert seen is not None
        inside += abs(seen.drift_ppm) <= seen.drift_error_ppm
    assert inside >= 80


def test_the_order_of_b_frames_is_no_jitter() -> None:
    arrival = [n * FRAME_NS for n in range(100)]
    order = [n + (2 if n % 3 == 0 else -1) for n in range(99)] + [99]
    seen = timing(arrival, [n * FRAME_NS for n in order])
    assert seen is not None
    assert seen.jitter_ms < 1e-6


@pytest.mark.parametrize(
    ("arrival", "stream"),
    [
        ([n * FRAME_NS for n in range(9)], [n * FRAME_NS for n in range(9)]),
        ([n * FRAME_NS for n in range(30)], [n * FRAME_NS for n in range(30)]),
        ([n * FRAME_NS for n in range(50)], [7] * 50),
        ([0, *[2 * NS_PER_S] * 50], list(range(51))),
    ],
    ids=["few", "only the start", "all of one time", "all at once"],
)
def test_what_has_no_pace(arrival: list[int], stream: list[int]) -> None:
    assert timing(arrival, stream) is None


def test_rtp_timestamps_wrap_and_step_back() -> None:
    start = (1 << 32) - 3600
    timestamps = [(start + step * 3600) % (1 << 32) for step in (0, 3, 1, 2, 4)]
    assert rtp_ns(timestamps, 90_000) == [step * FRAME_NS for step in (0, 3, 1, 2, 4)]
