"""A ring of small pictures in shared memory: how frames get from a capture worker to the core.

One ring belongs to one recognition stream and has one writer (the camera's thread in the worker) and one
reader (the core). Positions count the ticks ever written, from 0; position p lies in slot p % capacity, with
its times beside it. The writer of a live camera never waits: it overwrites the oldest, and the reader finds
out. The writer of a file asks `room` first and waits, so that nothing of a file is lost.

A reader never gets a torn picture, and needs no lock for it. The writer moves `begun` past p before it touches
p's slot. The reader copies, then looks at `begun` again and discards the copy if the slot *before* the one that
would overwrite it has been begun. That spare slot stands for the memory barrier that Python cannot express: a
whole tick passes between beginning one slot and touching the next.

The memory has no name. It is an anonymous file whose descriptor the worker is handed, so the kernel frees it
when the last of the two processes is gone, whatever killed them: nothing can stay behind in /dev/shm, and
nothing needs sweeping. (`multiprocessing.shared_memory` cannot promise that: its segments have names, and
its resource tracker unlinks them under the other process's feet or, after kill -9, not at all.) It is not
limited by the size of /dev/shm either, which is 64 MiB in a container.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream.frame import ClockSource, PlaneArray

_CACHE_LINE = 64

# Two counters, each on a cache line of its own: the writer owns `begun`, the reader `consumed`.
_CURSORS = np.dtype(
    {
        "names": ["begun", "consumed"],
        "formats": ["<i8", "<i8"],
        "offsets": [0, _CACHE_LINE],
        "itemsize": 2 * _CACHE_LINE,
    }
)
_SLOT = np.dtype(
    [
        ("position", "<i8"),  # what lies here; -1: nothing yet
        ("epoch", "<i8"),
        ("tick", "<i8"),
        ("pts_ns", "<i8"),
        ("arrival_ns", "<i8"),
        ("utc_offset_ns", "<i8"),
        ("rtcp", "<i4"),
        ("repeated", "<i4"),
    ]
)


def _aligned(size: int) -> int:
    return -(-size // _CACHE_LINE) * _CACHE_LINE


class RingShape(NamedTuple):
    """capacity: slots; height, width: of the picture the network sees (a slot holds its I420 planes)."""

    capacity: int
    height: int
    width: int

    @classmethod
    def for_windows(cls, windows: int, ticks: int, height: int, width: int) -> RingShape:
        """A ring that holds `windows` whole windows of `ticks` while the next ones are being written."""
        return cls(windows * ticks + 1, height, width)

    @property
    def slot_shape(self) -> tuple[int, int]:
        return self.height * 3 // 2, self.width

    @property
    def nbytes(self) -> int:
        rows, columns = self.slot_shape
        return _CURSORS.itemsize + _aligned(self.capacity * _SLOT.itemsize) + _aligned(self.capacity * rows * columns)


class SharedBlock:
    """Memory without a name, shared by handing its file descriptor over. Zeroed at first.

    It lives until no process has it open or mapped. `close_descriptor` once it has been handed over; the
    mapping goes with the last array that looks into it.
    """

    def __init__(self, descriptor: int, nbytes: int) -> None:
        """Maps `nbytes` of an open file and takes the descriptor over."""
        self.nbytes = nbytes
        self.descriptor = descriptor
        self.memory = mmap.mmap(descriptor, nbytes)

    @classmethod
    def create(cls, nbytes: int) -> SharedBlock:
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("swinstream-ring", os.MFD_CLOEXEC)
        else:  # macOS
            descriptor, path = tempfile.mkstemp(prefix="swinstream-ring-")
            os.unlink(path)
        os.ftruncate(descriptor, nbytes)
        return cls(descriptor, nbytes)

    def close_descriptor(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@dataclass(frozen=True, slots=True)
class TickTimes:
    """What a slot says of its picture; see `stream.frame` for the clocks."""

    epoch: int
    tick: int
    pts_ns: int
    arrival_ns: int
    utc_offset_ns: int
    clock: ClockSource
    repeated: bool


@dataclass(frozen=True, slots=True)
class RingRead:
    """Consecutive ticks copied out of a ring. pictures: uint8 [T, H*3//2, W]; pts_ns: int64 [T]; last: of tick T-1."""

    pictures: PlaneArray
    pts_ns: npt.NDArray[np.int64]
    repeated: npt.NDArray[np.bool_]
    last: TickTimes


class _Ring:
    """The two sides' common view of the memory."""

    def __init__(self, block: SharedBlock, offset: int, shape: RingShape) -> None:
        if offset % _CACHE_LINE or offset + shape.nbytes > block.nbytes:
            raise ValueError(f"a ring of {shape.nbytes} bytes does not fit at {offset} of {block.nbytes}")
        self.shape = shape
        slots_at = offset + _CURSORS.itemsize
        pictures_at = slots_at + _aligned(shape.capacity * _SLOT.itemsize)
        cursors = np.ndarray(1, _CURSORS, block.memory, offset)
        self._begun = cursors["begun"]
        self._consumed = cursors["consumed"]
        self._slots = np.ndarray(shape.capacity, _SLOT, block.memory, slots_at)
        self._pictures: PlaneArray = np.ndarray(
            (shape.capacity, *shape.slot_shape), np.uint8, block.memory, pictures_at
        )


class RingWriter(_Ring):
    """The worker's side. Fill `picture()`, then `commit` it with its times."""

    def __init__(self, block: SharedBlock, offset: int, shape: RingShape) -> None:
        super().__init__(block, offset, shape)
        self._slots["position"] = -1
        self.position = int(self._begun[0])

    def room(self, keep_from: int) -> bool:
        """Whether the next picture can be written without touching `keep_from` or anything after it."""
        return self.position - keep_from < self.shape.capacity - 1

    @property
    def consumed(self) -> int:
        """The reader needs nothing before this position any more."""
        return int(self._consumed[0])

    def picture(self) -> PlaneArray:
        """The next slot's picture, uint8 [H*3//2, W], to be written in place. The oldest picture is gone now."""
        slot = self.position % self.shape.capacity
        self._begun[0] = self.position + 1
        self._slots["position"][slot] = -1
        picture: PlaneArray = self._pictures[slot]
        return picture

    def commit(self, times: TickTimes) -> int:
        """Publish the picture; returns its position."""
        position = self.position
        self._slots[position % self.shape.capacity] = (
            position,
            times.epoch,
            times.tick,
            times.pts_ns,
            times.arrival_ns,
            times.utc_offset_ns,
            times.clock is ClockSource.RTCP,
            times.repeated,
        )
        self.position = position + 1
        return position


class RingReader(_Ring):
    """The core's side."""

    def read(self, position: int, ticks: int, out: PlaneArray | None = None) -> RingRead | None:
        """A copy of `ticks` pictures from `position` on, or None if the writer has overwritten any of them.

        out: uint8 [T, H*3//2, W] to copy into, a new array if None; its content is undefined after None.
        """
        if ticks > self.shape.capacity - 1:
            raise ValueError(f"{ticks} ticks can never lie in a ring of {self.shape.capacity}")
        if out is None:
            out = np.empty((ticks, *self.shape.slot_shape), np.uint8)
        if not self._intact(position):
            return None
        positions = np.arange(position, position + ticks)
        headers = np.take(self._slots, positions, mode="wrap")
        np.take(self._pictures, positions, axis=0, out=out, mode="wrap")
        if not self._intact(position) or not np.array_equal(headers["position"], positions):
            return None
        last = headers[-1]
        times = TickTimes(
            epoch=int(last["epoch"]),
            tick=int(last["tick"]),
            pts_ns=int(last["pts_ns"]),
            arrival_ns=int(last["arrival_ns"]),
            utc_offset_ns=int(last["utc_offset_ns"]),
            clock=ClockSource.RTCP if last["rtcp"] else ClockSource.ARRIVAL,
            repeated=bool(last["repeated"]),
        )
        return RingRead(out, headers["pts_ns"].copy(), headers["repeated"] != 0, times)

    def release(self, end: int) -> None:
        """The reader needs nothing before position `end` any more."""
        self._consumed[0] = max(int(self._consumed[0]), end)

    def _intact(self, position: int) -> bool:
        return int(self._begun[0]) <= position + self.shape.capacity - 1
