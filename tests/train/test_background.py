from __future__ import annotations

import numpy as np
import pytest

from stream.frame import PlaneArray
from train.data.background import blended, with_scene

H, W = 48, 64


def scene(luma: int, chroma: int) -> PlaneArray:
    return np.concatenate([np.full((H, W), luma, np.uint8), np.full((H // 2, W), chroma, np.uint8)])


def waving() -> PlaneArray:
    """Twelve pictures of two arms that swing to the sides of a body that stands still."""
    pictures = np.repeat(scene(60, 100)[None], 12, axis=0)
    pictures[:, 16:32, 28:36] = 150
    for i, picture in enumerate(pictures):
        arm = 16 + i
        picture[arm : arm + 3, 20:28] = picture[arm : arm + 3, 36:44] = 150
    return pictures


def test_the_surroundings_change_and_the_person_stays() -> None:
    pictures, other = waving(), scene(200, 150)
    out = with_scene(np.random.default_rng(0), pictures, other)
    assert (out[:, 18:28, 22:42] == pictures[:, 18:28, 22:42]).all()  # arms and the body between them
    corner = out[:, :6, :6].astype(int)
    assert corner.min() > 60 + 0.39 * 140
    assert np.ptp(corner, axis=0).max() == 0
    chroma = out[:, H:].reshape(12, 2, H // 2, W // 2)
    assert chroma[:, :, :3, :3].min() > 100 + 0.39 * 50
    assert (chroma[:, :, 10:13, 13:19] == 100).all()


def test_nothing_seems_to_move_that_does_not() -> None:
    """Outside what is kept, every picture is the same."""
    pictures = waving()
    still = np.ptp(pictures[:, :H].astype(int), axis=0) == 0
    out = with_scene(np.random.default_rng(1), pictures, scene(200, 150))
    assert np.ptp(out[:, :H].astype(int), axis=0)[still].max() == 0


@pytest.mark.parametrize("moving", [False, True])
def test_without_a_person_or_with_a_moving_camera_pictures_stay(moving: bool) -> None:
    rng = np.random.default_rng(0)
    ground = np.concatenate([rng.integers(16, 235, (H, W)), np.full((H // 2, W), 128)]).astype(np.uint8)
    pictures = np.stack([np.roll(ground, 3 * i if moving else 0, axis=1) for i in range(6)])
    assert with_scene(rng, pictures, scene(200, 150)) is pictures


def test_blending_weighs_every_plane() -> None:
    weight = np.zeros((H, W), np.float32)
    weight[:, W // 2 :] = 0.5
    out = blended(scene(60, 100)[None], scene(200, 150), weight)[0]
    assert out[0, 0] == 60
    assert out[0, -1] == 130
    for plane in out[H:].reshape(2, H // 2, W // 2):
        assert plane[0, 0] == 100
        assert plane[0, -1] == 125
