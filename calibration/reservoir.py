"""Reservoir: a sample of windows that holds as much of every class, camera and hour as there is room for.

Class-balancing reservoir sampling (Chrysakis and Moens, "Online Continual Learning from Imbalanced Data", ICML 2020)
over strata: once it is full, a window of a stratum that is not among the largest takes the place of a random one of a
largest stratum; within a stratum every window seen is equally likely to be kept. One pass, so a camera will do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np

Item = TypeVar("Item")


class Stratum(NamedTuple):
    """label: the folder's, else what the f32 network took the window for."""

    label: str
    camera: str
    hour: int


class Coverage(NamedTuple):
    """Windows kept and seen, by one property of their strata."""

    of: str
    value: str
    kept: int
    seen: int


class Reservoir(Generic[Item]):
    """At most `capacity` items. The same offers with the same seed keep the same items."""

    def __init__(self, capacity: int, seed: int = 0) -> None:
        if capacity < 1:
            raise ValueError(f"a reservoir of {capacity} items holds nothing")
        self._capacity = capacity
        self._rng = np.random.default_rng(seed)
        self._kept: dict[Stratum, list[Item]] = {}
        self._seen: Counter[Stratum] = Counter()
        self._full: set[Stratum] = set()  # have once been a largest one: they give, and take only from themselves

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def offer(self, stratum: Stratum, item: Item) -> None:
        self._seen[stratum] += 1
        own = self._kept.setdefault(stratum, [])
        if len(self) < self._capacity:
            own.append(item)
            return
        size = max(map(len, self._kept.values()))
        largest = [s for s, items in self._kept.items() if len(items) == size]
        self._full.update(largest)
        if stratum not in self._full:
            giver = self._kept[largest[self._rng.integers(len(largest))]]
            giver.pop(int(self._rng.integers(len(giver))))
            own.append(item)
        elif own and self._rng.random() < len(own) / self._seen[stratum]:
            own[int(self._rng.integers(len(own)))] = item

    @property
    def items(self) -> list[Item]:
        """In an order that mixes strata: any leading part is nearly as balanced as the whole."""
        queues = [list(items) for items in self._kept.values()]
        return [q[i] for i in range(max(map(len, queues), default=0)) for q in queues if i < len(q)]

    @property
    def coverage(self) -> list[Coverage]:
        """By label, by camera and by hour, each in the order of its values."""
        keys: dict[str, Callable[[Stratum], str]] = {
            "label": lambda stratum: stratum.label,
            "camera": lambda stratum: stratum.camera,
            "hour": lambda stratum: f"{stratum.hour:02d}:00",
        }
        rows = []
        for of, key in keys.items():
            kept: Counter[str] = Counter()
            seen: Counter[str] = Counter()
            for stratum, count in self._seen.items():
                seen[key(stratum)] += count
                kept[key(stratum)] += len(self._kept[stratum])
            rows += [Coverage(of, value, kept[value], seen[value]) for value in sorted(seen)]
        return rows
