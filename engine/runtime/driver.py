"""The NVIDIA driver, asked through ctypes: is there a GPU, and which. Loads no CUDA library and cannot crash.

TensorRT's own runtime crashes the process where there is no driver, so this comes first. What PyCUDA lacks,
recording a stream's work as a graph, is here too.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine.runtime.base import EngineError

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_CAPTURE_THREAD_LOCAL = 1


@dataclass(frozen=True)
class GPU:
    """number: among this machine's. capability: for example 90 for 9.0. driver: CUDA version that it supports."""

    number: int
    name: str
    capability: int
    memory_mib: int
    driver: str

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.capability / 10:.1f}, {self.memory_mib} MiB)"


def find_gpu(number: int = 0) -> GPU:
    """The GPU of that number. Raises EngineError, saying what is missing: driver, GPU, or one of that number."""
    gpus = count_gpus()
    if not 0 <= number < gpus:
        raise EngineError(f"there is no GPU number {number}: this machine has {gpus}")
    version, device = ctypes.c_int(), ctypes.c_int()
    _call("cuDriverGetVersion", ctypes.byref(version))
    _call("cuDeviceGet", ctypes.byref(device), number)
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _call("cuDeviceGetName", name, len(name), device)
    _call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    parts = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        _call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        parts.append(value.value)
    driver = f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    return GPU(number, name.value.decode(), 10 * parts[0] + parts[1], memory.value >> 20, driver)


def count_gpus() -> int:
    """How many GPUs the driver shows. Raises EngineError where there is no driver, or none that it can use."""
    status = _library().cuInit(0)
    if status:
        raise EngineError(f"the NVIDIA driver finds no usable GPU ({_name(status)}): see nvidia-smi")
    count = ctypes.c_int()
    _call("cuDeviceGetCount", ctypes.byref(count))
    return count.value


def record(stream: int, work: Callable[[], None]) -> Callable[[], None]:
    """What `work` puts on a stream, as a CUDA graph: nothing runs now, all of it when the result is called.

    Raises EngineError where something in it cannot be recorded.
    """
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    _call("cuStreamBeginCapture_v2", _pointer(stream), _CAPTURE_THREAD_LOCAL)
    try:
        work()
    finally:  # else the stream would refuse everything that follows
        status = _library().cuStreamEndCapture(_pointer(stream), ctypes.byref(graph))
    if status:
        raise EngineError(f"the network cannot be recorded as a CUDA graph: {_name(status)}")
    _call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    _call("cuGraphDestroy", graph)
    return _Graph(executable, stream)


class _Graph:
    """A recorded graph on its stream."""

    def __init__(self, executable: ctypes.c_void_p, stream: int) -> None:
        self._executable, self._stream = executable, stream

    def __call__(self) -> None:
        _call("cuGraphLaunch", self._executable, _pointer(self._stream))

    def __del__(self) -> None:
        _library().cuGraphExecDestroy(self._executable)


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        raise EngineError("this machine has no NVIDIA driver") from error


def _pointer(handle: int) -> ctypes.c_void_p:
    return ctypes.c_void_p(handle)


def _call(function: str, *arguments: Any) -> None:
    status = getattr(_library(), function)(*arguments)
    if status:
        raise EngineError(f"the NVIDIA driver refuses {function}: {_name(status)}")


def _name(status: int) -> str:
    text = ctypes.c_char_p()
    _library().cuGetErrorName(status, ctypes.byref(text))
    return text.value.decode() if text.value else f"error {status}"
