"""CudaDevice: a Device on an NVIDIA GPU, by PyCUDA."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.runtime import driver
from engine.runtime.base import EngineError
from engine.runtime.cubin import compile_kernels
from engine.runtime.driver import GPU

THREADS = 256
MAX_BLOCKS = 64  # in a row; each thread takes several elements
SIGNATURES = {"gather_state": "PPPi", "check_float": "PPi", "check_half": "PPi", "scatter_state": "PPPPi"}

log = logging.getLogger(__name__)


def require_libraries() -> None:
    """Raises EngineError where PyCUDA or NVRTC is missing: before an engine is built for minutes. Loads neither."""
    for package, name in (("pycuda", "PyCUDA"), ("cuda.core", "NVRTC (cuda-core)")):
        try:
            found = find_spec(package)
        except ModuleNotFoundError:  # not even `cuda`
            found = None
        if found is None:
            raise EngineError(f"{name} is missing: pip install 'swinstream[gpu]', see docs/gpu.md")


class CudaDevice:
    """Implements Device. Works in the GPU's primary context, which is current in the thread that made it until `close`.

    Raises EngineError where PyCUDA or NVRTC is missing.
    """

    def __init__(self, gpu: GPU) -> None:
        self.gpu = gpu
        try:
            import pycuda.driver as cuda
        except ImportError as error:
            raise EngineError(f"PyCUDA is missing ({error}): pip install 'swinstream[gpu]', see docs/gpu.md") from error
        cubin = compile_kernels(gpu.capability)
        cuda.init()
        self._cuda = cuda
        self._context = cuda.Device(gpu.number).retain_primary_context()
        self._context.push()
        try:
            self._stream = cuda.Stream()
            self._module = cuda.module_from_buffer(cubin)
            self._kernels = {
                name: self._module.get_function(name).prepare(signature) for name, signature in SIGNATURES.items()
            }
        except cuda.Error as error:
            self._context.pop()
            raise EngineError(f"CUDA cannot be used on {gpu}: {error}") from error
        self._memory: dict[int, Any] = {}

    @property
    def stream(self) -> int:
        """CUstream handle of all that is put on this device."""
        return int(self._stream.handle)

    @property
    def free_bytes(self) -> int:
        free, _ = self._cuda.mem_get_info()
        return int(free)

    def require(self, size_bytes: int, what: str) -> None:
        """Raise EngineError if so much memory is not free."""
        if size_bytes > self.free_bytes:
            raise EngineError(
                f"{what} needs {size_bytes / 2**20:.0f} MiB on {self.gpu}, which has {self.free_bytes / 2**20:.0f} MiB "
                "left: stop what else runs there, or build with smaller batches"
            )

    def allocate(self, size_bytes: int) -> int:
        self.require(size_bytes, "the engine")
        try:
            memory = self._cuda.mem_alloc(max(1, size_bytes))
        except self._cuda.MemoryError as error:
            raise EngineError(f"{self.gpu} has no {size_bytes / 2**20:.0f} MiB left ({error})") from error
        self._memory[int(memory)] = memory
        self.zero(int(memory), size_bytes)
        return int(memory)

    def free(self, address: int) -> None:
        self._memory.pop(address).free()

    def pinned(self, shape: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = self._cuda.pagelocked_zeros(tuple(shape), dtype)
        return array

    def upload(self, address: int, source: npt.NDArray[Any]) -> None:
        self._cuda.memcpy_htod_async(address, source, self._stream)

    def download(self, target: npt.NDArray[Any], address: int) -> None:
        self._cuda.memcpy_dtoh_async(target, address, self._stream)

    def copy(self, target: int, source: int, size_bytes: int) -> None:
        self._cuda.memcpy_dtod_async(target, source, size_bytes, self._stream)

    def zero(self, address: int, size_bytes: int) -> None:
        if size_bytes:
            self._cuda.memset_d8_async(address, 0, size_bytes, self._stream)

    def launch(self, kernel: str, rows: int, size: int, *arguments: int | np.int32) -> None:
        blocks = min(-(-size // THREADS), MAX_BLOCKS)
        self._kernels[kernel].prepared_async_call((blocks, rows, 1), (THREADS, 1, 1), self._stream, *arguments)

    def wait_for(self, stream: int) -> None:
        if stream:
            driver.wait_for(self.stream, stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """A CUDA graph; where the driver cannot record the work, the work itself, and the log says so."""
        try:
            return driver.record(self.stream, work)
        except EngineError as error:
            log.warning("no CUDA graph: %s", error)
            return work

    def synchronise(self) -> None:
        self._stream.synchronize()

    def close(self) -> None:
        self._stream.synchronize()
        self._memory.clear()
        self._kernels.clear()
        del self._module, self._stream
        self._context.pop()
        self._context.detach()
