from __future__ import annotations

import numpy as np

from stream.demo.player import Player
from stream.demo.schedule import Programme


def test_a_frame_is_the_same_whether_asked_for_in_order_or_alone() -> None:
    running, alone = Player(Programme(4), 160, 96), Player(Programme(4), 160, 96)
    try:
        last = [running.frame(t / 2) for t in range(60)][-1]
        np.testing.assert_array_equal(last, alone.frame(29.5))
    finally:
        running.close()
        alone.close()


def test_nothing_gives_the_label_away_unless_asked() -> None:
    plain, named = Player(Programme(4), 320, 240), Player(Programme(4), 320, 240, caption=True)
    try:
        differs = (plain.frame(3.0) != named.frame(3.0)).any(2)
    finally:
        plain.close()
        named.close()
    rows, columns = np.nonzero(differs)
    assert len(rows)
    assert rows.min() > 200
    assert columns.max() < 120
