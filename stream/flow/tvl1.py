"""TV-L1 optical flow on the CPU (Zach, Pock, Bischof 2007), which the Video Swin-CLSTM paper was trained with.

By scikit-image, whose implementation follows Wedel et al. (2009). Some 160 ms a pair of 112x112 on one core, where DIS
takes under 1 ms: for training and measuring as published, not for several cameras on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stream.flow.base import FlowArray
from stream.frame import PlaneArray


class Tvl1Flow:
    """Implements Flow. Raises ValueError if scikit-image is not installed."""

    def __init__(self) -> None:
        try:
            from skimage.registration import optical_flow_tvl1
        except ModuleNotFoundError:
            raise ValueError(
                "this model's optical flow is TV-L1, which needs scikit-image: pip install scikit-image"
            ) from None
        self._tvl1: Callable[[FlowArray, FlowArray], FlowArray] = optical_flow_tvl1

    def __call__(self, prev: PlaneArray, following: PlaneArray) -> FlowArray:
        """See Flow."""
        out = np.empty((prev.shape[0], 2, *prev.shape[1:]), np.float32)
        for a, b, flow in zip(prev, following, out, strict=True):
            rows, columns = self._tvl1(_fractions(a), _fractions(b))
            flow[0], flow[1] = columns, rows
        return out


def _fractions(luma: PlaneArray) -> FlowArray:
    """0 to 1, as the method's weights want it."""
    return np.asarray(luma, np.float32) / np.float32(255)
