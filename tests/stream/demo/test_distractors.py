from __future__ import annotations

import numpy as np

from stream.demo.distractors import make_distractor, make_reach


def test_stir_at_any_time_and_are_pure() -> None:
    moved = 0
    for seed in range(60):
        draw = make_distractor(np.random.default_rng(seed), 160, 128)
        pictures = []
        for t in (0.0, 0.4, 3.3, 500.0, 0.4):
            canvas = np.full((128, 160, 3), 130, np.uint8)
            draw(canvas, t)
            pictures.append(canvas)
        np.testing.assert_array_equal(pictures[1], pictures[4])
        moved += any((p != pictures[0]).any() for p in pictures)
    assert moved > 45  # the others are outside the picture or slow


def test_a_hand_comes_and_goes() -> None:
    """In every cycle it is out of the picture for a while, and most reach well into it."""
    reached = 0
    for seed in range(30):
        draw = make_reach(np.random.default_rng(seed), 160, 128)
        changed = []
        for t in np.arange(0, 14, 0.25):
            canvas = np.full((128, 160, 3), 130, np.uint8)
            draw(canvas, float(t))
            changed.append(float((canvas != 130).any(axis=2).mean()))
        assert max(changed) > min(changed)
        reached += max(changed) > 0.03
    assert reached > 25
