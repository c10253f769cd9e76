"""Systemd: the receiving end of sd_notify(3), on a real datagram socket."""

from __future__ import annotations

import socket


class Systemd:
    """address: what NOTIFY_SOCKET says, a path, or a name of Linux's abstract namespace after an `@`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> list[str]:
        """What has been said since the last call."""
        self._socket.setblocking(False)
        said = []
        while True:
            try:
                said.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return said

    def until(self, text: str, timeout_s: float = 30.0) -> list[str]:
        """What has been said since the last call, up to the first that begins so, for which it waits."""
        self._socket.settimeout(timeout_s)
        said = [self._socket.recv(4096).decode()]
        while not said[-1].startswith(text):
            said.append(self._socket.recv(4096).decode())
        return said

    def close(self) -> None:
        self._socket.close()
