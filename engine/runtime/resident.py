"""ResidentEngine: an Engine whose windows and states stay on a device.

Everything is allocated when the engine is made, once for the largest batch. A batch is: copy windows and slot numbers
up, make the inputs of them (or the windows are the inputs), gather states, run the network, look whether results are
finite, scatter the new states, copy logits down. All that follows the copies up is recorded once for each batch size
and then replayed, with one synchronisation at its end. A batch between two sizes is padded to the larger with rows of
no slot; one above the largest is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.runtime.base import EngineInfo, Inference
from engine.runtime.device import Device, InputSource, Network, to_pinned
from engine.spec import ModelSpec, TensorSpec
from engine.state import SlotTable

NO_SLOT = -1
KERNELS = Path(__file__).parent / "kernels" / "state.cu"
THREADS = 256
MAX_BLOCKS = 64  # in a row; each thread takes several elements


class ResidentEngine:
    """`DeviceEngine` on a Device. networks: by batch size. The engine takes both over, and closes them."""

    def __init__(
        self, spec: ModelSpec, info: EngineInfo, device: Device, networks: Mapping[int, Network], slots: int = 64
    ) -> None:
        """slots: states that there is room for at first; when more are opened, the room is doubled."""
        self._spec, self._info, self._device = spec, info, device
        self._networks = dict(sorted(networks.items()))
        self._largest = max(networks)
        self._recorded: dict[tuple[int, InputSource | None], Callable[[], None]] = {}
        self._kernels = device.load(KERNELS.read_text(encoding="utf-8"), KERNELS.name)
        self._memory = {t.name: device.allocate(self._largest * _bytes(t)) for t in (*spec.inputs, *spec.outputs)}
        self._windows = [t for t in spec.inputs if t not in spec.state_tensors]
        self._host = {t.name: device.pinned((self._largest, *t.shape), t.dtype) for t in self._windows}
        self._slots_at, self._finite_at = (device.allocate(4 * self._largest) for _ in range(2))
        self._host_slots, self._host_finite, self._ones = (device.pinned((self._largest,), np.int32) for _ in range(3))
        self._ones[:] = 1
        self._host_logits = device.pinned((self._largest, *spec.outputs[0].shape), np.float32)
        self._slots = SlotTable(slots)
        self._states = [device.allocate(slots * _bytes(t)) for t in spec.state_tensors]
        self._host_slots[:] = NO_SLOT
        device.upload(self._slots_at, self._host_slots)
        for size, network in self._networks.items():
            for name, address in self._memory.items():
                network.bind(name, address)
            self._enqueue(size, None)  # on zeros: what a library or a kernel does in its first run cannot be recorded
        device.synchronise()

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def device(self) -> Device:
        return self._device

    @property
    def largest(self) -> int:
        return self._largest

    def open_slot(self) -> int:
        if self._slots.full:
            self._grow()
        slot = self._slots.open()
        self._zero(slot)
        return slot

    def reset_slot(self, slot: int) -> None:
        self._slots.check([slot])
        self._zero(slot)

    def close_slot(self, slot: int) -> None:
        self._slots.close(slot)

    def state(self, slot: int) -> list[npt.NDArray[np.float32]]:
        self._slots.check([slot])
        copies = []
        for tensor, address in zip(self._spec.state_tensors, self._states, strict=True):
            host = self._device.pinned(tensor.shape, np.float32)
            self._device.download(host, address + slot * _bytes(tensor))
            copies.append(host)
        self._device.synchronise()
        return [copy.copy() for copy in copies]

    def infer(self, slots: Sequence[int], picture: npt.NDArray[np.uint8], flow: npt.NDArray[np.float16]) -> Inference:
        """See Engine."""
        given: tuple[npt.NDArray[Any], ...] = (picture, flow)
        windows = given[: len(self._windows)]
        for tensor, array in zip(self._windows, windows, strict=True):
            _check_window(tensor, array, len(slots))

        def upload(rows: slice) -> None:
            for tensor, window in zip(self._windows, windows, strict=True):
                staged = self._host[tensor.name]
                to_pinned(staged, window[rows])
                self._device.upload(self._memory[tensor.name], staged[: rows.stop - rows.start])

        return self._infer(slots, upload, None)

    def infer_from(self, slots: Sequence[int], source: InputSource) -> Inference:
        """See DeviceEngine."""
        return self._infer(slots, source.upload, source)

    def close(self) -> None:
        self._device.synchronise()
        self._recorded.clear()
        for network in self._networks.values():
            network.close()
        self._networks.clear()
        self._host.clear()  # pinned memory is given back by the thread that the context belongs to, while it does
        del self._host_slots, self._host_finite, self._ones, self._host_logits
        self._device.close()

    def _infer(self, slots: Sequence[int], upload: Callable[[slice], None], source: InputSource | None) -> Inference:
        self._slots.check(slots)
        logits = np.empty((len(slots), *self._spec.outputs[0].shape), np.float32)
        finite = np.empty(len(slots), np.bool_)
        for first in range(0, len(slots), self._largest):
            rows = slice(first, min(first + self._largest, len(slots)))
            upload(rows)
            self._run(slots[rows], source)
            n = rows.stop - rows.start
            logits[rows], finite[rows] = self._host_logits[:n], self._host_finite[:n] != 0
        logits[~finite] = np.nan
        return Inference(logits, finite)

    def _run(self, slots: Sequence[int], source: InputSource | None) -> None:
        """One batch of at most the largest size; its results are then in pinned memory."""
        size = next(s for s in self._networks if s >= len(slots))
        self._host_slots[:size] = NO_SLOT
        self._host_slots[: len(slots)] = slots
        self._device.upload(self._slots_at, self._host_slots[:size])
        if (size, source) not in self._recorded:
            self._recorded[size, source] = self._device.record(lambda: self._enqueue(size, source))
        self._recorded[size, source]()
        self._device.synchronise()

    def _enqueue(self, size: int, source: InputSource | None) -> None:
        """All that comes after the windows are there, for a batch of `size`."""
        device, memory = self._device, self._memory
        if source is not None:
            source.enqueue(size, {t.name: memory[t.name] for t in self._windows})
        device.upload(self._finite_at, self._ones[:size])
        states = list(zip(self._spec.state_tensors, self._states, strict=True))
        for tensor, address in states:
            n = prod(tensor.shape)
            self._launch("gather_state", size, n, address, self._slots_at, memory[tensor.name], np.int32(n))
        self._networks[size].enqueue()
        for tensor in self._spec.outputs:
            n = prod(tensor.shape)
            self._launch("check_float", size, n, memory[tensor.name], self._finite_at, np.int32(n))
        if self._spec.flow_ticks:  # not left to the network: a fused ReLU turns NaN into 0
            n = prod(self._spec.inputs[1].shape)
            self._launch("check_half", size, n, memory["flow"], self._finite_at, np.int32(n))
        for tensor, address in states:
            n, new = prod(tensor.shape), memory[f"new_{tensor.name}"]
            self._launch("scatter_state", size, n, address, self._slots_at, new, self._finite_at, np.int32(n))
        device.download(self._host_logits[:size], memory["logits"])
        device.download(self._host_finite[:size], self._finite_at)

    def _launch(self, kernel: str, rows: int, size: int, *arguments: int | np.int32) -> None:
        """A kernel of state.cu over rows of so many elements."""
        self._kernels.launch(kernel, (min(-(-size // THREADS), MAX_BLOCKS), rows, 1), THREADS, *arguments)

    def _grow(self) -> None:
        """Twice the slots. What was recorded names the old memory, so it is recorded again when next needed."""
        for i, (tensor, old) in enumerate(zip(self._spec.state_tensors, self._states, strict=True)):
            size_bytes = self._slots.capacity * _bytes(tensor)
            self._states[i] = self._device.allocate(2 * size_bytes)
            self._device.copy(self._states[i], old, size_bytes)
            self._device.synchronise()
            self._device.free(old)
        self._recorded.clear()
        self._slots.double()

    def _zero(self, slot: int) -> None:
        for tensor, address in zip(self._spec.state_tensors, self._states, strict=True):
            self._device.zero(address + slot * _bytes(tensor), _bytes(tensor))


def _bytes(tensor: TensorSpec) -> int:
    """Of one row."""
    return prod(tensor.shape) * np.dtype(tensor.dtype).itemsize


def _check_window(tensor: TensorSpec, array: npt.NDArray[Any], n: int) -> None:
    """Raise ValueError unless an array holds n rows of the tensor."""
    if array.shape != (n, *tensor.shape) or array.dtype != tensor.dtype:
        found = f"{array.dtype} {list(array.shape)}"
        raise ValueError(f"{tensor.name} is {found}, expected {tensor.dtype} {[n, *tensor.shape]}")
