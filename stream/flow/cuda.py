"""DIS optical flow on an NVIDIA GPU, of many cameras at once: the same flow as stream.flow.dis but for rounding.

The kernels are kernels/*.cu; how fast they should be is in docs/gpu.md. A live camera's flow is computed on the
engine's own device and stream (stream.device_clip); on arrays, as for OpenCV's, it is computed on a device of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.runtime.cuda import CudaDevice
from engine.runtime.device import Device
from engine.runtime.driver import find_gpu
from stream.flow.base import FlowArray
from stream.flow.launches import DisPlan
from stream.frame import PlaneArray

KERNELS = Path(__file__).parent / "kernels"


def kernel_source() -> str:
    """All in one piece: the tiled form and the refinement use the reference form's functions.

    To be compiled without fused multiply-adds, which round once where OpenCV rounds twice.
    """
    names = ("dis.cu", "pyramid.cu", "dis_tiled.cu", "refine.cu")
    return "\n".join((KERNELS / name).read_text(encoding="utf-8") for name in names)


class DeviceFlow:
    """Flow between pictures that lie on a Device, put on its stream.

    preset, finest_scale: as for DisFlow. tiled: the fast kernels, or the reference form with one thread per patch and
    pixel, which computes the same. Raises EngineError where the kernels cannot be compiled or loaded.
    """

    def __init__(
        self,
        device: Device,
        preset: Literal["ultrafast", "fast", "medium"] = "ultrafast",
        finest_scale: int = 0,
        *,
        tiled: bool = True,
    ) -> None:
        self._device, self._tiled = device, tiled
        self._preset, self._finest_scale = preset, finest_scale
        self._kernels = device.load(kernel_source(), "dis.cu", fma=False)
        self._plan: DisPlan | None = None
        self._memory = self._room = 0

    def reserve(self, pairs: int, height: int, width: int) -> DisPlan:
        """Make working memory for so many pairs of pictures at once, if it is not there.

        Raises EngineError if there is too little, ValueError for pictures too small.
        """
        plan = self._plan
        if plan is None or (plan.height, plan.width) != (height, width) or self._room < pairs:
            plan = DisPlan(height, width, self._preset, self._finest_scale)
            self.free()
            self._memory = self._device.allocate(plan.bytes(pairs))
            self._plan, self._room = plan, pairs
        return plan

    def launch(self, pairs: int, height: int, width: int, prev: int, following: int, flow: int) -> None:
        """Addresses: prev, following uint8 [N, H, W], flow float32 [N, 2, H, W]. Allocates only what `reserve` has not.

        Nothing is copied, and nothing waited for.
        """
        plan = self.reserve(pairs, height, width)
        arguments = [bytes(level) for level in plan.levels(pairs, self._memory, prev, following, flow)]
        for launch in plan.launches(pairs, self._tiled):
            self._kernels.launch(
                launch.kernel,
                launch.grid,
                launch.threads,
                arguments[launch.level],
                np.int32(launch.argument),
                shared_bytes=launch.shared_bytes,
            )

    def free(self) -> None:
        """Give the working memory back."""
        if self._memory:
            self._device.synchronise()
            self._device.free(self._memory)
        self._plan, self._memory, self._room = None, 0, 0


class CudaFlow:
    """Implements Flow. Belongs to one thread.

    device: None for this machine's first GPU; it is taken over, and closed. The others: as for DeviceFlow.
    Raises EngineError where driver, GPU, PyCUDA or NVRTC is missing. Memory is allocated when a size of picture, or
    more pairs than before, come for the first time.
    """

    def __init__(
        self,
        preset: Literal["ultrafast", "fast", "medium"] = "ultrafast",
        finest_scale: int = 0,
        *,
        device: Device | None = None,
        tiled: bool = True,
    ) -> None:
        self.device = CudaDevice(find_gpu()) if device is None else device
        try:
            self.flow = DeviceFlow(self.device, preset, finest_scale, tiled=tiled)
        except BaseException:
            self.device.close()
            raise
        self._buffers: _Buffers | None = None

    def __call__(self, prev: PlaneArray, following: PlaneArray) -> FlowArray:
        """See Flow. One synchronisation, at the end."""
        pairs, height, width = prev.shape
        if not pairs:
            return np.empty((0, 2, height, width), np.float32)
        buffers = self._reserve(pairs, height, width)
        for address, staged, pictures in zip(
            (buffers.prev, buffers.following), buffers.pictures, (prev, following), strict=True
        ):
            staged[:pairs] = pictures
            self.device.upload(address, staged[:pairs])
        self.flow.launch(pairs, height, width, buffers.prev, buffers.following, buffers.flow)
        self.device.download(buffers.result[:pairs], buffers.flow)
        self.device.synchronise()
        return buffers.result[:pairs].copy()

    def close(self) -> None:
        """Give the device back. The object cannot be used any more."""
        self._buffers = None
        self.device.close()

    def _reserve(self, pairs: int, height: int, width: int) -> _Buffers:
        buffers = self._buffers
        if buffers is None or buffers.result.shape[2:] != (height, width) or len(buffers.result) < pairs:
            if buffers is not None:
                self._buffers = None  # before more is allocated
                for address in (buffers.prev, buffers.following, buffers.flow):
                    self.device.free(address)
            self.flow.reserve(pairs, height, width)
            pixels = pairs * height * width
            buffers = self._buffers = _Buffers(
                prev=self.device.allocate(pixels),
                following=self.device.allocate(pixels),
                flow=self.device.allocate(8 * pixels),
                pictures=self.device.pinned((2, pairs, height, width), np.uint8),
                result=self.device.pinned((pairs, 2, height, width), np.float32),
            )
        return buffers


class _Buffers(NamedTuple):
    """Addresses of both batches of pictures and the flow; and pinned: both batches, and the flow, [N, 2, H, W]."""

    prev: int
    following: int
    flow: int
    pictures: npt.NDArray[Any]
    result: FlowArray
