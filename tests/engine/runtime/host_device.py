"""A Device that is the CPU: host memory, and kernels/state.cu as g++ compiles it. Recorded work is replayed as taken
down, with the addresses of then, as a CUDA graph is."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime as ort

from engine.runtime.cubin import KERNELS

# The kernels' text after this reads as C++: a thread is an iteration of a loop round the kernel.
HEADER = """
#define __global__
struct Place { unsigned x, y, z; };
static Place threadIdx, blockIdx, blockDim, gridDim;
"""
LAUNCH = """
#define RUN(call) \\
    gridDim = {2, (unsigned)rows, 1}; blockDim = {32, 1, 1}; \\
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++) \\
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++) \\
    for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) call;
extern "C" {
void run_gather_state(int rows, const float* s, const int* slots, float* r, int n) { RUN(gather_state(s, slots, r, n)) }
void run_check_float(int rows, const float* r, int* finite, int n) { RUN(check_float(r, finite, n)) }
void run_check_half(int rows, const unsigned short* r, int* finite, int n) { RUN(check_half(r, finite, n)) }
void run_scatter_state(int rows, float* s, const int* slots, const float* r, const int* finite, int n)
{ RUN(scatter_state(s, slots, r, finite, n)) }
}
"""


def compile_for_cpu(folder: Path) -> ctypes.CDLL:
    source, library = folder / "state.cpp", folder / "state.so"
    source.write_text(HEADER + KERNELS.read_text() + LAUNCH)
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", "-Wall", "-Werror", source, "-o", library], check=True)
    return ctypes.CDLL(str(library))


class HostDevice:
    """Implements Device. allocations, synchronised: how often, for tests to count."""

    def __init__(self, kernels: ctypes.CDLL) -> None:
        self._kernels = kernels
        self._memory: dict[int, np.ndarray] = {}
        self._recording: list | None = None
        self.allocations = self.synchronised = self.replayed = 0

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

    def launch(self, kernel, rows, size, *arguments):
        function = getattr(self._kernels, f"run_{kernel}")
        converted = [ctypes.c_int(int(a)) if isinstance(a, np.int32) else ctypes.c_void_p(a) for a in arguments]
        self._put(function, ctypes.c_int(rows), *converted)

    def wait_for(self, stream):
        pass

    def record(self, work):
        self._recording = recorded = []
        work()
        self._recording = None

        def replay():
            self.replayed += 1
            for function, arguments in recorded:
                function(*arguments)

        return replay

    def run(self, function):
        """What a network puts on the stream."""
        self._put(function)

    def synchronise(self):
        assert self._recording is None, "a graph cannot wait"
        self.synchronised += 1

    def close(self):
        self._memory.clear()

    def _put(self, function, *arguments):
        if self._recording is None:
            function(*arguments)
        else:
            self._recording.append((function, arguments))


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
