"""DIS optical flow on the CPU (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016).

Under 1 ms a pair at the network's picture size on one core, against 2.3 ms for Farneback and 160 ms for TV-L1:
the only one of them that a small CPU affords for several cameras.

OpenCV's presets stop at a quarter or half of the picture's size, which suits large pictures. In one of 96x64 a waving
arm is two pixels wide and then does not move at all: over ten waves the largest flow was 0.05 px with `fast` as it
is, and 2.2 px with `ultrafast` down to the finest scale, which also predicts the next picture best (mean grey-level
error of walking 1.2 against 2.9) at 0.9 ms instead of 0.2. Hence `finest_scale`.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from stream.flow.base import FlowArray
from stream.frame import PlaneArray

_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class DisFlow:
    """Implements Flow. Keeps working memory between calls: one object per thread.

    OpenCV splits DIS into as many stripes as it has threads, and the stripes change the result. So that
    training and every machine see the same flow, the first DisFlow of a process sets OpenCV to one thread;
    parallelism is across cameras anyway.
    """

    def __init__(self, preset: Literal["ultrafast", "fast", "medium"] = "ultrafast", finest_scale: int = 0) -> None:
        cv2.setNumThreads(1)
        self._dis = cv2.DISOpticalFlow.create(_PRESETS[preset])
        self._dis.setFinestScale(finest_scale)

    def __call__(self, prev: PlaneArray, following: PlaneArray) -> FlowArray:
        """See Flow."""
        out = np.empty((prev.shape[0], 2, *prev.shape[1:]), np.float32)
        for a, b, flow in zip(prev, following, out, strict=True):
            # No result array is passed in: DIS would take its contents as a first guess.
            cv2.split(self._dis.calc(a, b, None), mv=list(flow))
        return out
