"""StateStore: the memory of every recognition stream, one slot per (camera, zone, epoch)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.spec import ModelSpec

Float32Array = npt.NDArray[np.float32]


class SlotTable:
    """Which slots are open. Numbers are given out again once they are closed."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._free = list(reversed(range(capacity)))
        self._open: set[int] = set()

    def __len__(self) -> int:
        """Slots that are open."""
        return len(self._open)

    @property
    def full(self) -> bool:
        return not self._free

    def double(self) -> None:
        """Make room for as many again."""
        self._free = list(reversed(range(self.capacity, 2 * self.capacity))) + self._free
        self.capacity *= 2

    def open(self) -> int:
        """A free slot. Raises IndexError if there is none."""
        slot = self._free.pop()
        self._open.add(slot)
        return slot

    def close(self, slot: int) -> None:
        self.check([slot])
        self._open.remove(slot)
        self._free.append(slot)

    def check(self, slots: Sequence[int]) -> None:
        """Raises ValueError if a slot is not open, or is there twice."""
        for i, slot in enumerate(slots):
            if slot not in self._open:
                raise ValueError(f"slot {slot} is not open; open are {sorted(self._open)}")
            if slot in slots[:i]:
                raise ValueError(f"slot {slot} is in the batch twice: a stream's windows run one after the other")


class StateStore:
    """States by slot, in arrays that grow as slots open; nothing of one slot ever reaches another.

    A slot is zero when it opens and after `reset`. What is scattered and not finite is zeroed.
    """

    def __init__(self, spec: ModelSpec, capacity: int = 8) -> None:
        self._tensors = spec.state_tensors
        self._arrays: list[Float32Array] = [np.zeros((capacity, *t.shape), np.float32) for t in self._tensors]
        self._slots = SlotTable(capacity)

    def __len__(self) -> int:
        """Slots that are open."""
        return len(self._slots)

    def open(self) -> int:
        """A free slot, zeroed."""
        if self._slots.full:
            self._slots.double()
            self._arrays = [np.concatenate((a, np.zeros_like(a))) for a in self._arrays]
        slot = self._slots.open()
        self.reset(slot)
        return slot

    def reset(self, slot: int) -> None:
        self.check([slot])
        for array in self._arrays:
            array[slot] = 0

    def close(self, slot: int) -> None:
        self._slots.close(slot)

    def check(self, slots: Sequence[int]) -> None:
        """Raises ValueError if a slot is not open, or is there twice."""
        self._slots.check(slots)

    def gather(self, slots: Sequence[int], out: Sequence[Float32Array]) -> None:
        """Copy the slots' states to `out`: for each state tensor float32 [N, C, h, w]."""
        self.check(slots)
        for array, rows in zip(self._arrays, out, strict=True):
            for row, slot in enumerate(slots):
                rows[row] = array[slot]

    def scatter(self, slots: Sequence[int], new: Sequence[Float32Array]) -> npt.NDArray[np.bool_]:
        """Take new states, each float32 [N, C, h, w]; bool [N]: False where one was not finite and so is zero now."""
        self.check(slots)
        finite = np.ones(len(slots), np.bool_)
        for array, rows in zip(self._arrays, new, strict=True):
            for row, slot in enumerate(slots):
                array[slot] = rows[row]
                finite[row] &= np.isfinite(rows[row]).all()
        for slot, sound in zip(slots, finite, strict=True):
            if not sound:
                self.reset(slot)
        return finite

    def read(self, slot: int) -> list[Float32Array]:
        """A copy of the slot's state."""
        self.check([slot])
        return [array[slot].copy() for array in self._arrays]
