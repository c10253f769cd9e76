"""Device and Network: what an engine needs of a GPU. CUDA is one; in tests the CPU runs the same kernels.

Addresses are integers of the device's memory. All work is put on one stream, in order, and nothing waits for it but
`synchronise`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from engine.runtime.base import Engine, Inference


class Kernels(Protocol):
    """Compiled CUDA source, on the device that compiled it."""

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        threads: int,
        *arguments: int | np.int32 | bytes,
        shared_bytes: int = 0,
    ) -> None:
        """Put a kernel on the stream: grid blocks of so many threads.

        An argument is an address (int), a 32-bit integer (np.int32), or a struct by value (bytes; only as the first).
        """


class Device(Protocol):
    """Memory and a stream of work."""

    def load(self, source: str, name: str, *, fma: bool | None = None) -> Kernels:
        """CUDA source, compiled for this device: see `compile_cubin`. Raises EngineError where that cannot be."""

    def allocate(self, size_bytes: int) -> int:
        """Address of new memory, zeroed. Raises EngineError if there is too little."""

    def free(self, address: int) -> None:
        """Give memory back. Nothing on the stream may use it any more."""

    def pinned(self, shape: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Zeros in host memory that copies can read and write while the CPU goes on."""

    def upload(self, address: int, source: npt.NDArray[Any]) -> None:
        """Copy pinned memory to the device."""

    def download(self, target: npt.NDArray[Any], address: int) -> None:
        """Copy to pinned memory."""

    def copy(self, target: int, source: int, size_bytes: int) -> None:
        """Copy within the device."""

    def zero(self, address: int, size_bytes: int) -> None:
        """Fill with zeros."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Take down the work that a function puts on the stream (a CUDA graph); calling the result does it again."""

    def synchronise(self) -> None:
        """Wait for all work on the stream."""

    def close(self) -> None:
        """Free everything. Nothing may be used any more."""


class Network(Protocol):
    """A compiled network for batches of one size."""

    def bind(self, name: str, address: int) -> None:
        """Where an input is read or an output written."""

    def enqueue(self) -> None:
        """Put one run on the device's stream. Raises EngineError if the library refuses."""

    def close(self) -> None:
        """Free what the network holds."""


class InputSource(Protocol):
    """Makes the network's inputs (states apart) on the device, out of what it sends there."""

    def upload(self, rows: slice) -> None:
        """Send what these rows of the batch are made of. Not recorded: done anew for each batch."""

    def enqueue(self, rows: int, inputs: Mapping[str, int]) -> None:
        """Put the work that makes so many rows on the stream. inputs: addresses to write to, by the tensor's name.

        Recorded once for a number of rows and then repeated: it must name the same memory every time.
        """


@runtime_checkable
class DeviceEngine(Engine, Protocol):
    """An Engine whose inputs may be made where it runs."""

    @property
    def device(self) -> Device:
        """Where it runs. What is put on its stream is done before the next batch."""

    @property
    def largest(self) -> int:
        """Windows that fit into one run; of more it makes several."""

    def infer_from(self, slots: Sequence[int], source: InputSource) -> Inference:
        """As `infer`, of inputs that `source` makes. The source lives as long as the engine."""


def to_pinned(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> None:
    """Copy the rows of a batch into pinned memory that may have room for more."""
    np.copyto(target[: len(source)], source, casting="no")
