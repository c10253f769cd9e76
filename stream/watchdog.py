"""Watchdog: tells systemd how the service is, by the datagrams of sd_notify(3); without systemd it does nothing.

A few datagrams need no library: the one that everybody uses is untyped and has had no release since 2017.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

STATUS_EVERY_S = 1.0


class Watchdog:
    """Speaks to the socket that `NOTIFY_SOCKET` names. Every method returns at once, whether systemd reads or not.

    `turn` is called by the main loop: it alone says that the service lives, so a loop that hangs is restarted
    (`WatchdogSec`). environment: as systemd gives it. clock_s: monotonic.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock_s = clock_s
        self._socket: socket.socket | None = None
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address[:1] in {"/", "@"}:
            if self._address[0] == "@":  # of Linux's abstract namespace
                self._address = "\0" + self._address[1:]
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self._every_s = _interval_s(environment) / 2  # as sd_watchdog_enabled(3) recommends
        self._due_s = self._status_due_s = clock_s()
        self._status = ""
        self._reloading = False

    def ready(self) -> None:
        """Sockets are open and cameras are being read."""
        self._send("READY=1")

    def turn(self, status: Callable[[], str]) -> None:
        """The main loop has turned. status: gives a line for `systemctl status`, asked for once a second at most."""
        if self._socket is None:
            return
        now_s = self._clock_s()
        if self._every_s and now_s >= self._due_s:
            self._due_s = now_s + self._every_s
            self._send("WATCHDOG=1")
        if now_s >= self._status_due_s:
            self._status_due_s = now_s + STATUS_EVERY_S
            if (text := status()) != self._status:
                self._status = text
                self._send(f"STATUS={text}")

    def reloading(self) -> None:
        """A reload was asked for."""
        self._reloading = True
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """It has been carried out, or refused. Without one being under way this does nothing."""
        if self._reloading:
            self._reloading = False
            self._send("READY=1")

    def stopping(self) -> None:
        """The service ends in order."""
        self._send("STOPPING=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # systemd is restarting, or busy: it is told again
                self._socket.sendto("\n".join(lines).encode(), self._address)


def _interval_s(environment: Mapping[str, str]) -> float:
    """How often systemd wants to hear of this process; 0: never."""
    microseconds, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or (process and process != str(os.getpid())):
        return 0.0
    return int(microseconds) / 1e6
