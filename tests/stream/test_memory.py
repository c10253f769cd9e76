"""Memory: what glibc keeps goes back to the system, now and then."""

from __future__ import annotations

import ctypes
import sys

import psutil
import pytest

from stream.memory import TRIM_EVERY_S, Trimmer

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_free_memory_below_a_block_in_use_goes_back() -> None:
    now_s = 0.0
    trimmer = Trimmer(lambda: now_s)
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(60_000) for _ in range(1000)]  # below glibc's threshold for memory of its own
    for block in blocks:
        ctypes.memset(block, 1, 60_000)
    kept = libc.malloc(60_000)  # above them all: what is below is not given back by itself
    ctypes.memset(kept, 1, 60_000)
    for block in blocks:
        libc.free(block)
    resident = psutil.Process().memory_info().rss
    assert not trimmer.turn()  # not due
    now_s = TRIM_EVERY_S
    assert trimmer.turn()
    assert resident - psutil.Process().memory_info().rss > 40 * MIB
    assert not trimmer.turn()
    libc.free(kept)
