from __future__ import annotations

import gc
import os

import gi
import numpy as np
import psutil
import pytest

from stream import buffer as module
from stream.buffer import Layout, buffer_bytes, planes

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

Gst.init(None)


def gst_buffer(data: bytes) -> Gst.Buffer:
    buffer = Gst.Buffer.new_allocate(None, len(data), None)
    buffer.fill(0, data)
    return buffer


@pytest.mark.parametrize("zero_copy", [True, False])
def test_the_bytes_are_those_of_the_buffer(zero_copy: bool) -> None:
    data = bytes(range(256)) * 10
    view = buffer_bytes(gst_buffer(data), zero_copy)
    assert view.tobytes() == data
    assert not view.flags.writeable


def test_a_view_is_the_memory_of_the_buffer_and_keeps_it_alive() -> None:
    buffer = gst_buffer(b"\x05" * 100)
    view, other, copy = buffer_bytes(buffer), buffer_bytes(buffer), buffer_bytes(buffer, zero_copy=False)
    assert np.shares_memory(view, other)
    assert not np.shares_memory(view, copy)
    part = view[10:20]
    del buffer, view, other
    gc.collect()
    fill = [gst_buffer(b"\x09" * 100) for _ in range(100)]
    assert (part == 5).all(), fill


def test_views_give_their_memory_back() -> None:
    process = psutil.Process(os.getpid())

    def use_up(count: int) -> None:
        for _ in range(count):
            buffer_bytes(Gst.Buffer.new_allocate(None, 1 << 20, None)).sum()

    use_up(20)
    before = process.memory_info().rss
    use_up(400)
    assert process.memory_info().rss - before < 50 << 20


def test_without_the_library_pictures_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_library", lambda: None)
    assert buffer_bytes(gst_buffer(b"abc")).tobytes() == b"abc"


def test_planes_follow_offsets_and_strides() -> None:
    data = np.arange(200, dtype=np.uint8)
    y, u, v = planes(data, Layout(5, 7, (0, 64, 96), (8, 8, 16)))
    assert (y.shape, u.shape, v.shape) == ((5, 7), (3, 4), (3, 4))
    assert y[2].tolist() == list(range(16, 23))
    assert u[1].tolist() == [72, 73, 74, 75]
    assert v[2].tolist() == [128, 129, 130, 131]
    assert y.base is not None


def test_a_buffer_too_short_for_its_layout_is_refused() -> None:
    with pytest.raises((TypeError, ValueError), match=r"size of buffer|too small"):
        planes(np.zeros(10, np.uint8), Layout(4, 4, (0, 16, 20), (4, 2, 2)))
