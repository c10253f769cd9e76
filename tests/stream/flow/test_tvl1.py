from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from engine.spec import FlowSpec
from stream.flow import Tvl1Flow, make_flow
from stream.flow.base import FlowArray
from stream.frame import PlaneArray

SIZE = 48


def texture(seed: int) -> PlaneArray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((SIZE, SIZE)), (0, 0), 2.5)
    return np.asarray((noise - noise.min()) / np.ptp(noise) * 219 + 16, np.uint8)


@pytest.mark.parametrize("shift", [(0, 0), (3, -2)])
def test_flow_is_the_movement_in_pixels_x_first(shift: tuple[int, int]) -> None:
    prev = texture(1)
    flow = make_flow(FlowSpec(method="tvl1"))(prev[None], np.roll(prev, shift, axis=(1, 0))[None])
    assert flow.shape == (1, 2, SIZE, SIZE)
    assert flow.dtype == np.float32
    assert np.abs(np.median(flow[0, :, 8:-8, 8:-8], axis=(1, 2)) - shift).max() < 0.1


def test_a_batch_equals_its_pairs_alone() -> None:
    prev = np.stack([texture(n) for n in range(2)])
    following = np.stack([np.roll(texture(n), n, axis=1) for n in range(2)])
    tvl1 = Tvl1Flow()
    together: FlowArray = tvl1(prev, following)
    assert (tvl1(prev[1:], following[1:])[0] == together[1]).all()
    assert tvl1(prev[:0], following[:0]).shape == (0, 2, SIZE, SIZE)


def test_without_scikit_image_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.registration", None)
    with pytest.raises(ValueError, match="TV-L1, which needs scikit-image: pip install scikit-image"):
        make_flow(FlowSpec(method="tvl1"))


def test_scikit_image_is_loaded_for_tvl1_only() -> None:
    code = "import sys, stream.clip, stream.flow as f; f.DisFlow(); sys.exit('skimage' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
