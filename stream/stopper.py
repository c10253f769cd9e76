"""Stopper: SIGINT, SIGTERM and SIGHUP as a wish to end (SIGHUP: or to reload), which the program grants in order.

A flag, not an exception: an exception may come between any two lines, also in the middle of taking things down.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Self

SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")  # the last: the terminal was closed; Windows has none
    if hasattr(signal, name)
]


class Stopper:
    """While its block runs these signals only set `event`; from the block's end on they are ignored.

    More than one changes nothing: all that ends here ends by itself, in seconds. For the main thread, and once: it
    is for a program that has nothing to do after the block but to exit. reloads: SIGHUP is a wish to reload instead,
    unless it comes because the terminal was closed.
    """

    def __init__(self, *, reloads: bool = False) -> None:
        self.event = threading.Event()
        self._requested = False
        self._reloads = reloads
        self._reload_requested = False
        self._had_terminal = reloads and _has_terminal()
        self._nohup = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def __enter__(self) -> Self:
        self._install(self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        # Python's own end takes a moment, and lets go of handlers first.
        self._install(signal.SIG_IGN)

    def request(self) -> None:
        """As a signal does. From any thread."""
        # Not twice: a second signal may come while this thread holds the event's lock.
        if not self._requested:
            self._requested = True
            self.event.set()

    def reload_requested(self) -> bool:
        """True once for all wishes since the last call."""
        requested, self._reload_requested = self._reload_requested, False
        return requested

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        hung_up = hasattr(signal, "SIGHUP") and number == signal.SIGHUP
        closed = hung_up and self._had_terminal and not _has_terminal()
        if hung_up and self._reloads and not closed:
            self._reload_requested = True
        elif not (closed and self._nohup):
            self.request()

    def _install(self, handler: signal._HANDLER) -> None:
        for number in SIGNALS:
            # Under nohup a closed terminal is not to matter; a Ctrl-C and a wish to reload always do.
            wanted = number == signal.SIGINT or (self._reloads and number == getattr(signal, "SIGHUP", None))
            if wanted or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Processes started in this block never get these signals, however early they come.

    A terminal sends Ctrl-C to all of the program's processes, but it is the core's to end them, in order.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
