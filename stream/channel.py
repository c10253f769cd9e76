"""Channel: messages and file descriptors over a pair of connected sockets, without ever blocking a reader.

`multiprocessing.connection` would do but for two things: its `recv` blocks on half a message (a worker that is
stopped in the middle of one would stop the core with it), and it passes descriptors by a second protocol.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import struct
import time
from collections import deque
from typing import Any

_LENGTH = struct.Struct("<I")
_CHUNK = 1 << 16
_MAX_DESCRIPTORS = 8


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """One end. One thread may send while another receives. Pickle is sound here: both ends are this program."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._received = bytearray()
        self._descriptors: deque[int] = deque()

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A channel, and the socket of its other end to be handed to another process."""
        ours, theirs = socket.socketpair()
        return cls(ours), theirs

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self._socket.close()

    def send(self, message: object, descriptor: int | None = None, timeout_s: float | None = None) -> None:
        """Send one message, and a copy of an open file descriptor along with it.

        Raises ChannelClosed, and TimeoutError if the other side did not read for so long; after that the channel
        may hold half a message and is good for nothing but closing.
        """
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        rest = memoryview(_LENGTH.pack(len(body)) + body)
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while rest:
            try:
                if descriptor is not None:
                    sent = socket.send_fds(self._socket, [rest], [descriptor])
                    descriptor = None
                else:
                    sent = self._socket.send(rest)
                rest = rest[sent:]
            except BlockingIOError:
                self._wait_writable(deadline_s)
            except OSError as error:
                raise ChannelClosed from error

    def receive(self) -> list[Any]:
        """The messages that have come, without waiting. Raises ChannelClosed once there is nothing left to come."""
        messages: list[Any] = []
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, _CHUNK, _MAX_DESCRIPTORS)
            except BlockingIOError:
                return messages
            except OSError:
                data, descriptors = b"", []
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
                self._descriptors.append(descriptor)
            if not data:
                if messages:
                    return messages
                raise ChannelClosed
            self._received += data
            messages += self._complete()

    def wait(self, timeout_s: float) -> bool:
        """Whether something has come (or the other side has gone) within the time."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))

    def descriptor(self) -> int:
        """The descriptor that came with the oldest message that had one; it is the caller's to close now."""
        return self._descriptors.popleft()

    def _complete(self) -> list[Any]:
        messages = []
        start = 0
        while len(self._received) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._received, start)
            end = start + _LENGTH.size + length
            if len(self._received) < end:
                break
            messages.append(pickle.loads(self._received[start + _LENGTH.size : end]))
            start = end
        del self._received[:start]
        return messages

    def _wait_writable(self, deadline_s: float | None) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        left_ms = None if deadline_s is None else max(0.0, deadline_s - time.monotonic()) * 1000
        if not poll.poll(left_ms):
            raise TimeoutError("the other process does not read its messages")
