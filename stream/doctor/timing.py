"""How evenly a camera's pictures come, and how fast its clock runs, from their times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stream.frame import NS_PER_S

MIN_PICTURES = 10
START_S = 1.0  # not counted: servers begin with a burst of pictures they had kept, or stumble while they start
_WRAP = 1 << 32  # of an RTP timestamp


class Timing(NamedTuple):
    """jitter_ms: mean absolute deviation of arrivals from an even pace. drift_ppm: by how much the camera's clock is
    fast against this machine's monotonic one. drift_error_ppm: about two standard errors of it."""

    jitter_ms: float
    drift_ppm: float
    drift_error_ppm: float


def timing(arrival_ns: Sequence[int], stream_ns: Sequence[int]) -> Timing | None:
    """Of pictures in the order of arrival; None if they are too few, or have all one time. See START_S.

    B-frames arrive in another order than they are shown: the n-th to arrive is held against the n-th smallest time.
    What makes one picture late makes the next late too, so the error counts correlated pictures as fewer.
    """
    if len(arrival_ns) < MIN_PICTURES:
        return None
    arrival = (np.asarray(arrival_ns) - arrival_ns[0]) / NS_PER_S
    stream = np.sort(np.asarray(stream_ns) - stream_ns[0]) / NS_PER_S
    arrival, stream = arrival[arrival >= START_S], stream[arrival >= START_S]
    if len(arrival) < MIN_PICTURES:
        return None
    spread = np.square(arrival - arrival.mean()).sum()
    if not spread or stream[0] == stream[-1]:
        return None
    slope, start = np.polyfit(arrival, stream, 1)
    late = stream - start - slope * arrival
    power = np.square(late).sum()
    correlation = min(max(float((late[1:] * late[:-1]).sum() / power), 0.0), 0.99) if power else 0.0
    error = np.sqrt(power / (len(late) - 2) / spread * (1 + correlation) / (1 - correlation))
    return Timing(float(np.abs(late).mean() * 1e3), float((slope - 1) * 1e6), float(2 * error * 1e6))


def rtp_ns(timestamps: Sequence[int], clock_rate: int) -> list[int]:
    """RTP timestamps, which count modulo 2^32 at `clock_rate` Hz, as nanoseconds since the first."""
    times, elapsed = [], 0
    for number, timestamp in enumerate(timestamps):
        if number:
            step = (timestamp - timestamps[number - 1]) % _WRAP
            elapsed += step if step < _WRAP // 2 else step - _WRAP  # B-frames step back
        times.append(elapsed * NS_PER_S // clock_rate)
    return times
