"""ClipBuilder: windows of small pictures -> the network's input tensors. The same code live and in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.spec import ModelSpec
from stream.flow import Flow, make_flow
from stream.frame import NS_PER_S, Window
from stream.zone import to_rgb


class Clip(NamedTuple):
    """Input of one network call.

    picture: uint8 [N, Tp, H, W, 3], RGB; flow: float16 [N, Tf, 2, H, W], network pixels per tick, x then y.
    """

    picture: npt.NDArray[np.uint8]
    flow: npt.NDArray[np.float16]


class ClipBuilder:
    """Makes a Clip of N windows of one model. flow: None takes the method that the spec names."""

    def __init__(self, spec: ModelSpec, flow: Flow | None = None) -> None:
        self._spec = spec
        self._flow = flow if flow is not None else make_flow(spec.flow)
        self._picture_ticks = np.array(spec.picture_ticks, np.intp)
        self._flow_ticks = np.array(spec.flow_ticks, np.intp)

    def build(self, windows: Sequence[Window]) -> Clip:
        """Raises ValueError for a window that does not have the model's shape."""
        check_windows(self._spec, windows)
        return Clip(self._pictures(windows), self._flows(windows))

    def _pictures(self, windows: Sequence[Window]) -> npt.NDArray[np.uint8]:
        spec = self._spec
        out = np.empty((len(windows), len(self._picture_ticks), spec.height, spec.width, 3), np.uint8)
        for n, window in enumerate(windows):
            for i, tick in enumerate(self._picture_ticks):
                out[n, i] = to_rgb(window.pictures[tick])
        return out

    def _flows(self, windows: Sequence[Window]) -> npt.NDArray[np.float16]:
        """Flow is computed only between ticks that differ: a repeated picture has zero flow by definition."""
        spec = self._spec
        out = np.zeros((len(windows), len(self._flow_ticks), 2, spec.height, spec.width), np.float16)
        if not windows or not len(self._flow_ticks):
            return out
        scale = flow_scale(spec, windows)
        moved = np.argwhere(scale > 0)
        if not len(moved):
            return out
        prev = np.stack([windows[n].pictures[self._flow_ticks[f], : spec.height] for n, f in moved])
        following = np.stack([windows[n].pictures[self._flow_ticks[f] + 1, : spec.height] for n, f in moved])
        flow = self._flow(prev, following)
        flow *= scale[scale > 0][:, None, None, None]
        np.clip(flow, -spec.flow.clip_px, spec.flow.clip_px, out=flow)
        out[moved[:, 0], moved[:, 1]] = flow
        return out


def check_windows(spec: ModelSpec, windows: Sequence[Window]) -> None:
    """Raises ValueError for a window that does not have the model's shape."""
    shape = (spec.ticks, spec.height * 3 // 2, spec.width)
    for window in windows:
        if window.pictures.shape != shape or window.pts_ns.shape != shape[:1]:
            raise ValueError(
                f"window of {window.stream.camera}/{window.stream.zone} has shape {window.pictures.shape}, "
                f"model {spec.name} needs {shape}"
            )


def flow_scale(spec: ModelSpec, windows: Sequence[Window]) -> npt.NDArray[np.float32]:
    """float32 [N, Tf]: a tick's length by the time between the frames of each of the flow's ticks and the next.

    The camera's frames are rarely a tick apart; the network sees motion per tick whatever their distance. 0: the tick
    repeats the one before, and nothing has moved.
    """
    pts_ns, ticks = np.stack([window.pts_ns for window in windows]), np.array(spec.flow_ticks, np.intp)
    delta_s = (pts_ns[:, ticks + 1] - pts_ns[:, ticks]) / NS_PER_S
    scale = np.divide(1 / spec.rate_hz, delta_s, out=np.zeros_like(delta_s), where=delta_s > 0)
    return scale.astype(np.float32)
