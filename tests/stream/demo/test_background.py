from __future__ import annotations

import numpy as np

from stream.demo.background import paint_background


def test_has_its_margin_and_its_floor_in_the_picture() -> None:
    for seed in range(60):
        b = paint_background(np.random.default_rng(seed), 160, 128)
        assert b.picture.dtype == np.uint8
        assert b.picture.shape == (128 + 2 * b.margin, 160 + 2 * b.margin, 3)
        assert 0.7 * 128 < b.ground_y < 128
        assert all(0 <= c <= 255 for c in b.wall)


def test_differs_by_seed_and_only_by_seed() -> None:
    first, again, other = (paint_background(np.random.default_rng(s), 160, 128).picture for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 5
