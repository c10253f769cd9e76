from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from stream.flow import DisFlow


def texture(seed: int, size: int = 80) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((size, size)), (0, 0), 2.5)
    return ((noise - noise.min()) / np.ptp(noise) * 219 + 16).astype(np.uint8)


@pytest.mark.parametrize("shift", [(0, 0), (3, 0), (0, -2), (-4, 3)])
def test_flow_is_the_movement_in_pixels_x_first(shift: tuple[int, int]) -> None:
    prev = texture(1)
    following = np.roll(prev, shift, axis=(1, 0))
    flow = DisFlow()(prev[None], following[None])
    assert flow.shape == (1, 2, 80, 80)
    assert flow.dtype == np.float32
    inner = flow[0, :, 12:-12, 12:-12]
    assert np.abs(np.median(inner, axis=(1, 2)) - shift).max() < 0.1


def test_a_batch_equals_its_pairs_alone_whatever_came_before() -> None:
    prev = np.stack([texture(n) for n in range(4)])
    following = np.stack([np.roll(texture(n), n, axis=1) for n in range(4)])
    dis = DisFlow()
    together = dis(prev, following)
    for n in (3, 0, 2, 1):
        assert (dis(prev[n : n + 1], following[n : n + 1])[0] == together[n]).all()


def test_flow_does_not_depend_on_the_threads_of_the_machine() -> None:
    prev, following = texture(5)[None], np.roll(texture(5), 3, axis=0)[None]
    expected = DisFlow()(prev, following)
    cv2.setNumThreads(4)
    assert (DisFlow()(prev, following) == expected).all()
    assert cv2.getNumThreads() == 1


def test_an_empty_batch_has_no_flow() -> None:
    empty = np.empty((0, 80, 80), np.uint8)
    assert DisFlow()(empty, empty).shape == (0, 2, 80, 80)
