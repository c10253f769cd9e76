from __future__ import annotations

import itertools

import numpy as np
import pytest

from stream.demo.actor import Actor
from stream.demo.motions import ACTIONS

WIDTH, HEIGHT, TALL = 160, 128, 60.0


def actor(seed: int, *segments: tuple[str, float], border: str | None = None) -> Actor:
    return Actor(np.random.default_rng(seed), segments, WIDTH, 110.0, TALL, border=border)  # type: ignore[arg-type]


@pytest.mark.parametrize("label", ACTIONS)
def test_one_who_turns_at_the_border_stays_inside(label: str) -> None:
    for seed in range(5):
        a = actor(seed, (label, 10.0), border="turn")
        xs = [a.place(t / 20).x for t in range(200)]
        assert min(xs) > 0
        assert max(xs) < WIDTH
        assert all(a.visible(t / 20) for t in range(200))


@pytest.mark.parametrize("border", ["return", "wrap"])
def test_one_who_walks_out_comes_back(border: str) -> None:
    a = actor(1, ("run", 20.0), border=border)
    seen = [a.visible(t / 20) for t in range(400)]
    first_away = seen.index(False)
    assert any(seen[first_away:])
    assert np.mean(seen) > 0.5
    faces_left = [np.cos(a.place(t / 20).yaw) < -0.5 for t in range(400)]
    assert len(set(faces_left)) == (2 if border == "return" else 1)


def test_faces_the_way_it_goes() -> None:
    for seed in range(10):
        a = actor(seed, ("walk", 20.0), border="turn")
        for t in np.arange(0.5, 20, 0.37):
            going = a.place(t + 0.01).x - a.place(t - 0.01).x
            if abs(going) > 0.5:  # not while it turns
                assert going * np.cos(a.place(t).yaw) > 0


def test_goes_smoothly_from_action_to_action() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        labels = rng.permutation([*ACTIONS, "idle", "idle"]).tolist()
        a = actor(seed, *[(label, 1.3) for label in labels])
        places = [a.place(t / 100) for t in range(round(1.3 * 100 * len(labels)))]
        for before, after in itertools.pairwise(places):
            assert abs(after.x - before.x) < 0.05 * TALL
            assert np.abs(after.pose.angles - before.pose.angles).max() < np.radians(25)


def test_labels_change_when_segments_do() -> None:
    a = actor(0, ("walk", 2.0), ("idle", 1.0), ("bend", 3.0))
    assert [a.label(t) for t in (0.0, 1.99, 2.0, 2.99, 3.0, 99.0)] == ["walk", "walk", "idle", "idle", "bend", "bend"]
    assert a.duration_s == 6.0


def test_drawing_is_a_pure_function_of_time() -> None:
    first, second = (np.full((HEIGHT, WIDTH, 3), 200, np.uint8) for _ in range(2))
    a = actor(4, ("jack", 3.0))
    a.draw(first, 1.1)
    a.draw(np.zeros_like(first), 2.7)
    actor(4, ("jack", 3.0)).draw(second, 1.1)
    np.testing.assert_array_equal(first, second)
    assert (first != 200).any()


def test_needs_something_to_do() -> None:
    with pytest.raises(ValueError, match="at least one"):
        actor(0)
