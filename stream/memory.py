"""Memory: gives back to the system what the C library keeps of memory that was freed.

A peak (an answer with a thousand events, a reload) leaves free memory between what is still in use, and glibc keeps
it for ever; peaks that follow each other then look like a leak. Handing it back takes 1 to 4 ms.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable

TRIM_EVERY_S = 60.0


def _malloc_trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except AttributeError:  # a C library that has none, like musl, keeps less
        return None
    return found


class Trimmer:
    """clock_s: monotonic."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._trim = _malloc_trim()
        self._clock_s = clock_s
        self._due_s = clock_s() + TRIM_EVERY_S

    def turn(self) -> bool:
        """The main loop has turned. Whether memory was given back now."""
        if self._trim is None or self._clock_s() < self._due_s:
            return False
        self._due_s = self._clock_s() + TRIM_EVERY_S
        return bool(self._trim(0))
