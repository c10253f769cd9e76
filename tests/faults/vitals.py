"""Vitals: memory, file handles and threads of a running service, over time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
import psutil

MIN_JUDGED_S = 600.0
"""A slope over less says nothing."""
MAX_SLOPE = 0.01  # of the memory, an hour
MAX_GROWTH_MIB = 48.0  # what is allowed where there is no slope to judge by
MAX_MORE_FILES = 4.0
MAX_MORE_THREADS = 1.0

_BARS = "▁▂▃▄▅▆▇█"


class Sample(NamedTuple):
    """at_s: since the beginning. Memory (resident), handles and threads of the core, and of all workers together."""

    at_s: float
    rss_mib: float
    files: int
    threads: int
    workers: int
    workers_mib: float
    workers_files: int
    workers_threads: int
    zombies: int


class Vitals:
    def __init__(self, pid: int) -> None:
        self._core = psutil.Process(pid)
        self._begun_s = time.monotonic()
        self.samples: list[Sample] = []

    def sample(self) -> None:
        workers_mib, files, threads, zombies, workers = 0.0, 0, 0, 0, 0
        for child in self._core.children():
            with contextlib.suppress(psutil.Error):
                if child.status() == psutil.STATUS_ZOMBIE:
                    zombies += 1
                else:
                    workers_mib += child.memory_info().rss / 2**20
                    files += child.num_fds()
                    threads += child.num_threads()
                    workers += 1
        self.samples.append(
            Sample(
                at_s=time.monotonic() - self._begun_s,
                rss_mib=self._core.memory_info().rss / 2**20,
                files=self._core.num_fds(),
                threads=self._core.num_threads(),
                workers=workers,
                workers_mib=workers_mib,
                workers_files=files,
                workers_threads=threads,
                zombies=zombies,
            )
        )


class Growth(NamedTuple):
    """How much more memory, handles and threads there are: medians of the last third less those of the first."""

    mib: float
    files: float
    threads: float


class Trend(NamedTuple):
    """After warming up. slope: of the core's memory, as a share of it an hour."""

    seconds: float
    rss_mib: float
    slope_per_hour: float
    core: Growth
    workers: Growth


def trend(samples: Sequence[Sample]) -> Trend:
    """Medians and a Theil-Sen slope, so that a moment's peak counts for nothing. Warming up takes a fifth, or more."""
    whole_s = samples[-1].at_s
    warm = [s for s in samples if s.at_s >= min(max(0.2 * whole_s, 120.0), 0.4 * whole_s)]
    third = max(1, len(warm) // 3)
    first, last = warm[:third], warm[-third:]
    rss = median(s.rss_mib for s in warm)

    def more(name: str) -> float:
        return float(median(getattr(s, name) for s in last) - median(getattr(s, name) for s in first))

    return Trend(
        seconds=warm[-1].at_s - warm[0].at_s,
        rss_mib=rss,
        slope_per_hour=3600 * _theil_sen([s.at_s for s in warm], [s.rss_mib for s in warm]) / rss,
        core=Growth(more("rss_mib"), more("files"), more("threads")),
        workers=Growth(more("workers_mib"), more("workers_files"), more("workers_threads")),
    )


def grown(samples: Sequence[Sample]) -> list[str]:
    """What has grown that must not."""
    found = trend(samples)
    wrong = []
    if found.seconds >= MIN_JUDGED_S and found.slope_per_hour > MAX_SLOPE:
        wrong.append(f"memory grows by {100 * found.slope_per_hour:.1f} % an hour")
    judged = {"": found.core}
    if found.seconds >= MIN_JUDGED_S:  # in a short run a worker may be missing for a third of it
        judged["workers: "] = found.workers
    for of, more in judged.items():
        if more.mib > MAX_GROWTH_MIB:
            wrong.append(f"{of}memory has grown by {more.mib:.0f} MiB")
        if more.files > MAX_MORE_FILES:
            wrong.append(f"{of}{more.files:g} more file handles")
        if more.threads > MAX_MORE_THREADS:
            wrong.append(f"{of}{more.threads:g} more threads")
    for n, sample in enumerate(samples[2:], 2):
        if all(s.zombies for s in samples[n - 2 : n + 1]):
            wrong.append(f"a dead process was not waited for at {sample.at_s:.0f} s")
            break
    return wrong


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """A row of bars, each the mean of its share of the values, from the least to the greatest."""
    means = [float(np.mean(part)) for part in np.array_split(np.asarray(values, float), min(width, len(values)))]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


def _theil_sen(x: Sequence[float], y: Sequence[float]) -> float:
    """The median of the slopes between all pairs of points."""
    xs, ys = np.asarray(x), np.asarray(y)
    if len(xs) > 600:
        chosen = np.linspace(0, len(xs) - 1, 600).astype(int)
        xs, ys = xs[chosen], ys[chosen]
    a, b = np.triu_indices(len(xs), 1)
    return float(np.median((ys[b] - ys[a]) / (xs[b] - xs[a]))) if len(xs) > 1 else 0.0
