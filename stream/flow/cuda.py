"""DIS optical flow on an NVIDIA GPU, of many cameras at once: the same flow as stream.flow.dis but for rounding.

The kernels are kernels/*.cu; how fast they should be is in docs/gpu.md.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal

import numpy as np

from engine.runtime.base import EngineError
from engine.runtime.driver import find_gpu
from stream.flow.base import FlowArray
from stream.flow.cubin import compile_cubin
from stream.flow.launches import DisPlan, Level
from stream.frame import PlaneArray


class CudaFlow:
    """Implements Flow. Works in the GPU's primary context, on a stream of its own, and belongs to one thread.

    preset, finest_scale: as for DisFlow. device: number of the GPU. tiled: the fast kernels, or the reference form
    with one thread per patch and pixel, which computes the same.
    Raises EngineError where driver, GPU or PyCUDA is missing.

    Memory is allocated when a size of picture, or more cameras than before, come for the first time.
    """

    def __init__(
        self,
        preset: Literal["ultrafast", "fast", "medium"] = "ultrafast",
        finest_scale: int = 0,
        *,
        device: int = 0,
        tiled: bool = True,
    ) -> None:
        self._gpu = find_gpu(device)
        try:
            import pycuda.driver as cuda
        except ImportError as error:
            raise EngineError(f"PyCUDA is missing ({error}): pip install 'swinstream[gpu]', see docs/gpu.md") from error
        cubin = compile_cubin(self._gpu.capability)
        cuda.init()
        self._cuda = cuda
        self._preset, self._finest_scale, self._tiled = preset, finest_scale, tiled
        self._context = cuda.Device(device).retain_primary_context()
        with self.current():
            self._module = self._cuda.module_from_buffer(cubin)
            self._stream = self._cuda.Stream()
        self._kernels: dict[str, Any] = {}
        self._buffers: _Buffers | None = None

    def __call__(self, prev: PlaneArray, following: PlaneArray) -> FlowArray:
        """See Flow. One synchronisation, at the end."""
        cameras, height, width = prev.shape
        if not cameras:
            return np.empty((0, 2, height, width), np.float32)
        with self.current():
            self._flow(prev, following)
            assert self._buffers is not None
            result: FlowArray = self._buffers.host_flow[:cameras]
            self._cuda.memcpy_dtoh_async(result, int(self._buffers.flow), self._stream)
            self._stream.synchronize()
        return result.copy()

    def on_device(self, prev: PlaneArray, following: PlaneArray) -> int:
        """The address of the result, float32 [N, 2, H, W] on the device, valid until the next call. N is not 0.

        Not synchronised: order other work behind it by an event on `stream`.
        """
        with self.current():
            self._flow(prev, following)
        assert self._buffers is not None
        return int(self._buffers.flow)

    @property
    def stream(self) -> Any:
        """PyCUDA's Stream of everything that this object launches."""
        return self._stream

    def current(self) -> AbstractContextManager[None]:
        """While the block lasts, the GPU's primary context is this thread's."""
        return _current(self._context)

    def launch(self, cameras: int, height: int, width: int, prev: int, following: int, flow: int) -> None:
        """Flow between pictures that are on the device already.

        Addresses: prev, following uint8 [N, H, W], flow float32 [N, 2, H, W]. Nothing is copied, and nothing
        synchronised: see `on_device`.
        """
        with self.current():
            self._launch(cameras, height, width, prev, following, flow)

    def close(self) -> None:
        """Give the memory back. The object cannot be used any more."""
        with self.current():
            self._stream.synchronize()
            del self._buffers, self._kernels, self._module, self._stream
        self._context.detach()

    def _flow(self, prev: PlaneArray, following: PlaneArray) -> None:
        """Upload and compute, all of it asynchronous. The pinned copies are free again: who reads a result waits."""
        cameras, height, width = prev.shape
        buffers = self._reserve(cameras, height, width)
        self._stream.synchronize()
        for address, staged, pictures in zip(
            (buffers.prev, buffers.following), buffers.host_pictures, (prev, following), strict=True
        ):
            staged[:cameras] = pictures
            self._cuda.memcpy_htod_async(int(address), staged[:cameras], self._stream)
        self._launch(cameras, height, width, int(buffers.prev), int(buffers.following), int(buffers.flow))

    def _launch(self, cameras: int, height: int, width: int, prev: int, following: int, flow: int) -> None:
        buffers = self._reserve(cameras, height, width)
        levels = buffers.plan.levels(cameras, int(buffers.memory), prev, following, flow)
        arguments = [bytes(level) for level in levels]
        for launch in buffers.plan.launches(cameras, self._tiled):
            self._kernel(launch.kernel).prepared_async_call(
                launch.grid,
                (launch.threads, 1, 1),
                self._stream,
                arguments[launch.level],
                launch.argument,
                shared_size=launch.shared_bytes,
            )

    def _kernel(self, name: str) -> Any:
        if name not in self._kernels:
            function = self._module.get_function(name)
            self._kernels[name] = function.prepare([f"{ctypes.sizeof(Level)}s", "i"])
        return self._kernels[name]

    def _reserve(self, cameras: int, height: int, width: int) -> _Buffers:
        buffers = self._buffers
        if buffers is None or (buffers.plan.height, buffers.plan.width) != (height, width) or buffers.cameras < cameras:
            plan = DisPlan(height, width, self._preset, self._finest_scale)
            self._stream.synchronize()
            self._buffers = None  # before more is allocated
            try:
                buffers = self._buffers = _Buffers(self._cuda, plan, cameras)
            except self._cuda.MemoryError as error:
                needed = plan.bytes(cameras) + 10 * cameras * height * width
                raise EngineError(
                    f"optical flow of {cameras} cameras at {width}x{height} needs {needed / 2**20:.0f} MiB on "
                    f"{self._gpu}, which has not so much left; serve fewer cameras ({error})"
                ) from error
        return buffers


class _Buffers:
    """Device and pinned memory for one size of picture and at most so many cameras."""

    def __init__(self, cuda: Any, plan: DisPlan, cameras: int) -> None:
        self.plan, self.cameras = plan, cameras
        pixels = plan.height * plan.width
        self.memory = cuda.mem_alloc(plan.bytes(cameras))
        self.prev, self.following = (cuda.mem_alloc(cameras * pixels) for _ in range(2))
        self.flow = cuda.mem_alloc(8 * cameras * pixels)
        self.host_pictures = cuda.pagelocked_empty((2, cameras, plan.height, plan.width), np.uint8)
        self.host_flow = cuda.pagelocked_empty((cameras, 2, plan.height, plan.width), np.float32)


@contextlib.contextmanager
def _current(context: Any) -> Iterator[None]:
    context.push()
    try:
        yield
    finally:
        context.pop()
