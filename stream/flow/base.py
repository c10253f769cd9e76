"""Flow: how pixels move from one picture to the next. One batched interface for the CPU and for CUDA."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from stream.frame import PlaneArray

FlowArray = npt.NDArray[np.float32]


class Flow(Protocol):
    """Dense optical flow of N pairs of luma pictures at once."""

    def __call__(self, prev: PlaneArray, following: PlaneArray) -> FlowArray:
        """prev, following: uint8 [N, H, W] -> float32 [N, 2, H, W], pixels from prev to following: x, then y.

        A point at (x, y) of prev is found at (x, y) + flow in following. The caller owns the result.
        """
        ...
