"""CudaDevice: a Device on an NVIDIA GPU, by PyCUDA."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.runtime import driver
from engine.runtime.base import EngineError
from engine.runtime.cubin import compile_cubin
from engine.runtime.driver import GPU

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

    Raises EngineError where PyCUDA is missing or the context cannot be had.
    """

    def __init__(self, gpu: GPU) -> None:
        self.gpu = gpu
        try:
            import pycuda.driver as cuda
        except ImportError as error:
            raise EngineError(f"PyCUDA is missing ({error}): pip install 'swinstream[gpu]', see docs/gpu.md") from error
        self._cuda = cuda
        try:
            cuda.init()
            _contexts.enter(cuda, gpu.number)
        except cuda.Error as error:
            raise EngineError(f"CUDA cannot be used on {gpu}: {error}") from error
        try:
            self._stream = cuda.Stream()
        except cuda.Error as error:
            _contexts.leave(gpu.number)
            raise EngineError(f"CUDA cannot be used on {gpu}: {error}") from error
        self._memory: dict[int, Any] = {}
        self._loaded: list[CudaKernels] = []

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

    def load(self, source: str, name: str, *, fma: bool | None = None) -> CudaKernels:
        cubin = compile_cubin(source, name, self.gpu.capability, fma=fma)
        try:
            kernels = CudaKernels(self._cuda.module_from_buffer(cubin), self._stream)
        except self._cuda.Error as error:
            raise EngineError(f"{name} cannot be loaded on {self.gpu}: {error}") from error
        self._loaded.append(kernels)
        return kernels

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
        try:
            array: npt.NDArray[Any] = self._cuda.pagelocked_zeros(tuple(shape), dtype)
        except self._cuda.Error as error:
            raise EngineError(f"there is no pinned memory left for {self.gpu}: {error}") from error
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

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """A CUDA graph; where the driver cannot record the work, the work itself, and the log says so."""
        try:
            return driver.record(self.stream, work)
        except (EngineError, self._cuda.Error) as error:
            log.warning("no CUDA graph: %s", error)
            return work

    def synchronise(self) -> None:
        self._stream.synchronize()

    def close(self) -> None:
        self._stream.synchronize()
        self._memory.clear()
        for kernels in self._loaded:
            kernels.close()
        self._loaded.clear()
        del self._stream
        _contexts.leave(self.gpu.number)


class CudaKernels:
    """Implements Kernels: a module on the GPU. Closed by its device."""

    def __init__(self, module: Any, stream: Any) -> None:
        self._module, self._stream = module, stream
        self._prepared: dict[str, Any] = {}

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        threads: int,
        *arguments: int | np.int32 | bytes,
        shared_bytes: int = 0,
    ) -> None:
        function = self._prepared.get(kernel)
        if function is None:
            function = self._prepared[kernel] = self._module.get_function(kernel).prepare(argument_types(arguments))
        values = [int(value) if isinstance(value, np.int32) else value for value in arguments]
        function.prepared_async_call(grid, (threads, 1, 1), self._stream, *values, shared_size=shared_bytes)

    def close(self) -> None:
        self._prepared.clear()
        del self._module, self._stream


def argument_types(arguments: Sequence[int | np.int32 | bytes]) -> list[str]:
    """How PyCUDA packs a kernel's arguments, in the letters of `struct`: an address, an int32, a struct's bytes."""
    return [
        f"{len(value)}s" if isinstance(value, bytes) else "i" if isinstance(value, np.int32) else "P"
        for value in arguments
    ]


class _Contexts(threading.local):
    """The primary contexts that this thread has entered: one push however many devices use it, as PyCUDA's stack
    knows no two of the same context: a device that closed would take another's away.

    A context that was left is kept for the next time: released, it would be destroyed while the driver still has it
    as the thread's own.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Any] = {}
        self._users: Counter[int] = Counter()

    def enter(self, cuda: Any, number: int) -> None:
        if not self._users[number]:
            if number not in self._kept:
                self._kept[number] = cuda.Device(number).retain_primary_context()
            self._kept[number].push()
        self._users[number] += 1

    def leave(self, number: int) -> None:
        self._users[number] -= 1
        if not self._users[number]:
            self._kept[number].pop()


_contexts = _Contexts()
