"""Device and Network: what an engine needs of a GPU. CUDA is one; in tests the CPU runs the same kernels.

Addresses are integers of the device's memory. All work is put on one stream, in order, and nothing waits for it but
`synchronise`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Device(Protocol):
    """Memory and a stream of work."""

    def allocate(self, size_bytes: int) -> int:
        """Address of new memory, zeroed. Raises EngineError if there is too little."""

    def free(self, address: int) -> None:
        """Give memory back."""

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

    def launch(self, kernel: str, rows: int, size: int, *arguments: int | np.int32) -> None:
        """A kernel of kernels/state.cu over rows x size threads. Addresses are int, other arguments np.int32."""

    def wait_for(self, stream: int) -> None:
        """Let what follows wait for what is on another stream of this device now; 0: for nothing."""

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


def to_pinned(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> None:
    """Copy the rows of a batch into pinned memory that may have room for more."""
    np.copyto(target[: len(source)], source, casting="no")
