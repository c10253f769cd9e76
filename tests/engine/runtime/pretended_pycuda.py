"""The part of PyCUDA that CudaDevice uses, on the CPU: what is called by a wrong name or packed wrongly shows.

Contexts are kept as PyCUDA keeps them (src/cpp/cuda.hpp of 2026.1): a stack for each thread, from which `pop` takes
the topmost whatever it is called on; memory, streams and modules need one that is current.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks.kernels_on_cpu import CpuKernels


class Error(Exception):
    pass


class OutOfMemory(Error):
    pass


STACK: list[_Context] = []


def _in_context() -> None:
    if not STACK:
        raise Error("no currently active context?")


class _Context:
    def push(self):
        STACK.append(self)

    def pop(self):
        _in_context()
        STACK.pop()


class _Device:
    def __init__(self, number):
        assert number == 0

    def retain_primary_context(self):
        return _Context()


class _Stream:
    handle = 4711

    def __init__(self):
        _in_context()

    def synchronize(self):
        pass


class _Allocation:
    def __init__(self, size):
        _in_context()
        self._array = np.full(size, 0xFF, np.uint8)

    def __int__(self):
        return self._array.ctypes.data

    def free(self):
        _in_context()
        self._array[:] = 0xFF


class _Function:
    """As prepared: pycuda.driver packs by the letters that `prepare` was given."""

    def __init__(self, kernels, name):
        self._kernels, self._name, self._format = kernels, name, ""

    def prepare(self, types):
        self._format = "".join(types)
        return self

    def prepared_async_call(self, grid, block, stream, *arguments, shared_size):
        assert block[1:] == (1, 1)
        assert isinstance(stream, _Stream)
        values = struct.unpack(self._format, struct.pack(self._format, *arguments))
        letters = [letter for letter in self._format if not letter.isdigit()]
        given = [np.int32(v) if letter == "i" else v for letter, v in zip(letters, values, strict=True)]
        self._kernels.launch(self._name, grid, block[0], *given, shared_bytes=shared_size)


class _Module:
    def __init__(self, source, folder):
        _in_context()
        self._kernels = CpuKernels(source.decode(), folder)

    def get_function(self, name):
        return _Function(self._kernels, name)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *, free_bytes: int = 1 << 30) -> ModuleType:
    """`pycuda.driver` from now on. folder: where compiled kernels are kept."""
    driver = ModuleType("pycuda.driver")
    pinned = np.zeros
    driver.__dict__.update(
        Error=Error,
        MemoryError=OutOfMemory,
        Device=_Device,
        Stream=_Stream,
        init=lambda: None,
        mem_get_info=lambda: (free_bytes, free_bytes),
        mem_alloc=_Allocation,
        module_from_buffer=lambda source: _Module(source, folder),
        pagelocked_zeros=lambda shape, dtype: (_in_context(), pinned(shape, dtype))[1],
        memcpy_htod_async=lambda dest, src, stream: ctypes.memmove(dest, src.ctypes.data, src.nbytes),
        memcpy_dtoh_async=lambda dest, src, stream: ctypes.memmove(dest.ctypes.data, src, dest.nbytes),
        memcpy_dtod_async=lambda dest, src, size, stream: ctypes.memmove(dest, src, size),
        memset_d8_async=lambda dest, data, count, stream: ctypes.memset(dest, data, count),
    )
    package = ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    # A cubin of the CPU is the source itself.
    monkeypatch.setattr("engine.runtime.cuda.compile_cubin", lambda source, *_, **__: source.encode())
    STACK.clear()
    return driver
