"""A Device that is the CPU: host memory, and the kernels' own source as g++ compiles it. Recorded work is replayed as
taken down, with the addresses of then, as a CUDA graph is."""

from __future__ import annotations

import ctypes
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks.kernels_on_cpu import CpuKernels
from engine.runtime.base import EngineError


def kernel_folder(factory: pytest.TempPathFactory) -> Path:
    """Where a session's tests keep compiled kernels: each source is compiled once."""
    folder = factory.getbasetemp() / "kernels"
    folder.mkdir(exist_ok=True)
    return folder


class HostDevice:
    """Implements Device. folder: where compiled kernels are kept. refused: names of sources that do not compile here.

    allocations, synchronised, replayed: how often, for tests to count; used_bytes: of its memory.
    """

    def __init__(self, folder: Path, refused: tuple[str, ...] = ()) -> None:
        self._folder, self._refused = folder, refused
        self._memory: dict[int, np.ndarray] = {}
        self._recording: list | None = None
        self.allocations = self.synchronised = self.replayed = 0
        self.closed = False

    @property
    def used_bytes(self):
        return sum(array.nbytes for array in self._memory.values())

    def load(self, source, name, *, fma=None):
        if name in self._refused:
            raise EngineError(f"{name} does not compile")
        return _HostKernels(CpuKernels(source, self._folder), self)

    def allocate(self, size_bytes):
        array = np.zeros(max(1, size_bytes), np.uint8)
        self._memory[array.ctypes.data] = array
        self.allocations += 1
        return array.ctypes.data

    def free(self, address):
        self._memory.pop(address)[:] = 0xFF  # NaN, for whoever still reads it

    def pinned(self, shape, dtype):
        self.allocations += 1
        return np.zeros(shape, dtype)

    def upload(self, address, source):
        self._put(ctypes.memmove, address, source.ctypes.data, source.nbytes)

    def download(self, target, address):
        self._put(ctypes.memmove, target.ctypes.data, address, target.nbytes)

    def copy(self, target, source, size_bytes):
        self._put(ctypes.memmove, target, source, size_bytes)

    def zero(self, address, size_bytes):
        self._put(ctypes.memset, address, 0, size_bytes)

    def record(self, work):
        self._recording = recorded = []
        work()
        self._recording = None

        def replay():
            self.replayed += 1
            for function, arguments in recorded:
                function(*arguments)

        return replay

    def run(self, function, *arguments):
        """What a network or a kernel puts on the stream."""
        self._put(function, *arguments)

    def synchronise(self):
        assert self._recording is None, "a graph cannot wait"
        self.synchronised += 1

    def close(self):
        self._memory.clear()
        self.closed = True

    def _put(self, function, *arguments):
        if self._recording is None:
            function(*arguments)
        else:
            self._recording.append((function, arguments))


class _HostKernels:
    """Implements Kernels: on the device's stream."""

    def __init__(self, kernels: CpuKernels, device: HostDevice) -> None:
        self._kernels, self._device = kernels, device

    def launch(self, kernel, grid, threads, *arguments, shared_bytes=0):
        self._device.run(partial(self._kernels.launch, shared_bytes=shared_bytes), kernel, grid, threads, *arguments)


class OrtNetwork:
    """Implements Network: a graph in ONNX Runtime, on a HostDevice, for one batch size."""

    def __init__(self, graph: bytes, spec, batch: int, device: HostDevice) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(graph, options)
        self._spec, self._batch, self._device = spec, batch, device
        self._bound = {}

    def bind(self, name, address):
        tensor = next(t for t in (*self._spec.inputs, *self._spec.outputs) if t.name == name)
        shape = (self._batch, *tensor.shape)
        size_bytes = int(np.prod(shape)) * np.dtype(tensor.dtype).itemsize
        buffer = (ctypes.c_uint8 * size_bytes).from_address(address)
        self._bound[name] = np.frombuffer(buffer, tensor.dtype).reshape(shape)

    def enqueue(self):
        self._device.run(self._run)

    def close(self):
        self._bound.clear()

    def _run(self):
        outputs = self._session.run(None, {t.name: self._bound[t.name] for t in self._spec.inputs})
        for tensor, values in zip(self._spec.outputs, outputs, strict=True):
            self._bound[tensor.name][:] = values
