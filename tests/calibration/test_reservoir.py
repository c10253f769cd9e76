from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from calibration.reservoir import Reservoir, Stratum


def stratum(label: str, camera: str = "door", hour: int = 9) -> Stratum:
    return Stratum(label, camera, hour)


def test_rare_classes_are_kept_whole_and_common_ones_share_the_rest():
    reservoir: Reservoir[str] = Reservoir(60)
    offers = ["none"] * 3000 + ["walk"] * 400 + ["wave"] * 9
    np.random.default_rng(3).shuffle(offers)
    for label in offers:
        reservoir.offer(stratum(label), label)
    kept = Counter(reservoir.items)
    assert kept["wave"] == 9
    assert kept.total() == 60
    assert abs(kept["none"] - kept["walk"]) <= 1


def test_within_a_stratum_early_and_late_windows_are_as_likely():
    """300 items, 20 kept, 60 times: the mean place has a standard error of 2.5."""
    places = []
    for seed in range(60):
        reservoir: Reservoir[int] = Reservoir(20, seed)
        for place in range(300):
            reservoir.offer(stratum("none"), place)
        places += reservoir.items
    assert abs(np.mean(places) - 149.5) < 10


def test_coverage_counts_what_was_seen_and_what_was_kept():
    reservoir: Reservoir[int] = Reservoir(4)
    for n in range(10):
        reservoir.offer(stratum("none", hour=3), n)
        reservoir.offer(stratum("walk", camera="gate", hour=12), n)
    rows = {(row.of, row.value): (row.kept, row.seen) for row in reservoir.coverage}
    assert rows == {
        ("label", "none"): (2, 10),
        ("label", "walk"): (2, 10),
        ("camera", "door"): (2, 10),
        ("camera", "gate"): (2, 10),
        ("hour", "03:00"): (2, 10),
        ("hour", "12:00"): (2, 10),
    }


def test_a_leading_part_holds_every_stratum_and_a_seed_repeats_itself():
    def drawn(seed: int) -> list[str]:
        reservoir: Reservoir[str] = Reservoir(30, seed)
        for n in range(500):
            label = ("none", "walk", "bend")[n % 3]
            reservoir.offer(stratum(label), f"{label}{n}")
        return reservoir.items

    assert {item[:4] for item in drawn(1)[:3]} == {"none", "walk", "bend"}
    assert drawn(1) == drawn(1) != drawn(2)
    with pytest.raises(ValueError, match="holds nothing"):
        Reservoir(0)
