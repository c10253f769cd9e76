"""Stopper: SIGINT, SIGTERM and SIGHUP as a wish to end, which the program grants in order.

A flag, not an exception: an exception may come between any two lines, also in the middle of taking things down.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # the last: the terminal was closed; Windows has none


class Stopper:
    """From its making on, for the rest of the process's life, these signals only set `event`.

    A second one changes nothing: everything that ends here ends by itself, in seconds. Make it in the main thread.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self._requested = False
        for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
            if number != signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN:
                continue  # under nohup a closed terminal is not to matter
            signal.signal(number, self._handle)

    def request(self) -> None:
        """As a signal does. From any thread."""
        # Not twice: a second signal may come while this thread holds the event's lock.
        if not self._requested:
            self._requested = True
            self.event.set()

    @property
    def requested(self) -> bool:
        return self._requested

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.request()
