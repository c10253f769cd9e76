"""RingWriter and RingReader over real shared memory, in one process and in two."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.frame import ClockSource
from stream.ring import RingReader, RingShape, RingWriter, SharedBlock, TickTimes

SHAPE = RingShape(capacity=13, height=8, width=16)


def times(n: int, repeated: bool = False) -> TickTimes:
    clock = ClockSource.RTCP if n % 2 else ClockSource.ARRIVAL
    return TickTimes(
        epoch=3, tick=n, pts_ns=n * 10, arrival_ns=n * 100, utc_offset_ns=-n, clock=clock, repeated=repeated
    )


def ring(shape: RingShape = SHAPE) -> tuple[RingWriter, RingReader]:
    block = SharedBlock.create(shape.nbytes)
    sides = RingWriter(block, 0, shape), RingReader(block, 0, shape)
    block.close_descriptor()
    return sides


def write(writer: RingWriter, count: int) -> None:
    for _ in range(count):
        writer.picture().fill(writer.position % 251)
        writer.commit(times(writer.position))


def test_a_window_comes_out_as_it_went_in() -> None:
    writer, reader = ring()
    write(writer, 7)
    read = reader.read(2, 4)
    assert read is not None
    assert read.pictures.shape == (4, 12, 16)
    assert [int(picture.min()) for picture in read.pictures] == [2, 3, 4, 5]
    assert [int(picture.max()) for picture in read.pictures] == [2, 3, 4, 5]
    assert read.pts_ns.tolist() == [20, 30, 40, 50]
    assert read.last == times(5)


def test_what_was_read_is_a_copy() -> None:
    writer, reader = ring()
    write(writer, 4)
    read = reader.read(0, 4)
    write(writer, 13)
    assert read is not None
    assert [int(picture[0, 0]) for picture in read.pictures] == [0, 1, 2, 3]


def test_reads_into_the_callers_array() -> None:
    writer, reader = ring()
    write(writer, 16)
    out = np.empty((4, 12, 16), np.uint8)
    read = reader.read(12, 4, out)  # across the end of the memory
    assert read is not None
    assert read.pictures is out
    assert out[:, 0, 0].tolist() == [12, 13, 14, 15]


def test_overwritten_pictures_are_not_handed_out() -> None:
    writer, reader = ring()
    write(writer, 4)
    assert reader.read(0, 4) is not None
    write(writer, 8)
    assert reader.read(0, 4) is not None  # 12 written of 13: the spare slot is left
    write(writer, 1)
    assert reader.read(0, 4) is None
    assert reader.read(1, 4) is not None


def test_a_picture_that_is_being_written_is_not_handed_out() -> None:
    writer, reader = ring()
    write(writer, 3)
    writer.picture()
    assert reader.read(0, 4) is None
    writer.commit(times(3))
    assert reader.read(0, 4) is not None


def test_pictures_not_written_yet_are_not_handed_out() -> None:
    _, reader = ring()
    assert reader.read(0, 1) is None


def test_a_window_larger_than_the_ring_is_a_mistake() -> None:
    _, reader = ring()
    with pytest.raises(ValueError, match="never"):
        reader.read(0, 13)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 12))
def test_reads_exactly_what_is_there(written: int, position: int, ticks: int) -> None:
    writer, reader = ring()
    write(writer, written)
    read = reader.read(position, ticks)
    there = position + ticks <= written <= position + SHAPE.capacity - 1
    assert (read is not None) == there
    if read is not None:
        assert read.pictures[:, 0, 0].tolist() == [p % 251 for p in range(position, position + ticks)]


def test_room_is_left_for_what_must_be_kept() -> None:
    writer, reader = ring()
    write(writer, 4)
    while writer.room(keep_from=0):
        write(writer, 1)
    assert writer.position == 12
    assert reader.read(0, 12) is not None
    assert writer.room(keep_from=1)


def test_release_reaches_the_writer_and_never_goes_back() -> None:
    writer, reader = ring()
    reader.release(5)
    reader.release(3)
    assert writer.consumed == 5


def test_rings_in_one_block_do_not_touch() -> None:
    block = SharedBlock.create(2 * SHAPE.nbytes)
    sides = [(RingWriter(block, at, SHAPE), RingReader(block, at, SHAPE)) for at in (0, SHAPE.nbytes)]
    block.close_descriptor()
    write(sides[1][0], 20)
    assert sides[0][1].read(0, 1) is None
    write(sides[0][0], 40)
    read = sides[1][1].read(8, 12)
    assert read is not None
    assert read.pictures[:, 0, 0].tolist() == list(range(8, 20))


@pytest.mark.parametrize("offset", [1, SHAPE.nbytes])
def test_a_ring_that_does_not_fit_is_refused(offset: int) -> None:
    block = SharedBlock.create(2 * SHAPE.nbytes - 64)
    with pytest.raises(ValueError, match="fit"):
        RingReader(block, offset, SHAPE)
    block.close_descriptor()


def test_the_memory_has_no_name() -> None:
    before = set(os.listdir("/dev/shm")) if Path("/dev/shm").is_dir() else set()
    block = SharedBlock.create(1 << 20)
    if Path("/dev/shm").is_dir():
        assert set(os.listdir("/dev/shm")) <= before
    block.close_descriptor()


WRITE_FAST = """
import sys
from stream.frame import ClockSource
from stream.ring import RingShape, RingWriter, SharedBlock, TickTimes
shape = RingShape(*map(int, sys.argv[2:5]))
writer = RingWriter(SharedBlock(int(sys.argv[1]), shape.nbytes), 0, shape)
while True:
    writer.picture().fill(writer.position % 251)
    writer.commit(TickTimes(0, writer.position, writer.position, 0, 0, ClockSource.ARRIVAL, False))
"""


def test_another_process_writing_at_full_speed_never_tears_a_picture() -> None:
    shape = RingShape(capacity=9, height=256, width=256)  # copying takes long enough to be overtaken
    block = SharedBlock.create(shape.nbytes)
    reader = RingReader(block, 0, shape)
    command = [sys.executable, "-c", WRITE_FAST, str(block.descriptor), *map(str, shape)]
    writer = subprocess.Popen(command, pass_fds=[block.descriptor])
    block.close_descriptor()
    try:
        good = lost = 0
        position = 0
        deadline_s = time.monotonic() + 30
        while (good < 300 or lost < 300) and time.monotonic() < deadline_s:
            # The ring's own counter tells where the writer is; ask for its newest, and for what it is overwriting.
            newest = int(reader._begun[0])
            if newest < shape.capacity:
                continue  # it has hardly begun
            position = max(0, newest - (4 if good <= lost else 8))
            read = reader.read(position, 3)
            if read is None:
                lost += 1
                continue
            good += 1
            expected = [p % 251 for p in range(position, position + 3)]
            assert read.pictures.min(axis=(1, 2)).tolist() == expected
            assert read.pictures.max(axis=(1, 2)).tolist() == expected
            assert read.pts_ns.tolist() == list(range(position, position + 3))
        assert good >= 300
        assert lost >= 300
    finally:
        writer.kill()
        writer.wait()
