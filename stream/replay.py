"""ReplayClient: asks a publisher's journal for the events that a subscriber missed.

Requests go one at a time. An answer that does not come in time is asked for again on a new socket, so that
what is left of the old answer cannot be taken for the new one (the "lazy pirate" of the ZeroMQ guide).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import zmq

from stream.security import ClientCurve
from stream.wire import EventMessage, Position, ReplayEnd, ReplayRefusal, ReplayRequest, WireError

MAX_MESSAGE_BYTES = 16 << 20  # of anything a publisher sends: a heartbeat with 100,000 cameras
_PATIENCE_S = 0.1  # how often a waiting client looks whether it should stop


class ReplayError(Exception):
    """The replay socket gave no answer, or one that makes no sense."""


class ReplayRefusedError(ReplayError):
    """The publisher refused the request; the text is its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    events: list[EventMessage]
    next: Position
    more: bool
    pruned_before: Position | None


class ReplayClient:
    """One client of the ROUTER at `address`. It connects when first asked."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, curve: ClientCurve | None = None) -> None:
        self.address = address
        self._context, self._curve = context, curve
        self._socket: zmq.Socket[bytes] | None = None

    def ask(
        self,
        after: Position | Literal["first", "last"],
        camera: str | None,
        limit: int,
        *,
        timeout_s: float,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Raises ReplayError if nothing comes for timeout_s or `stopped()`, ReplayRefusedError if refused."""
        request = ReplayRequest(after=after, camera=camera, limit=limit)
        try:
            return self._ask(request, timeout_s, stopped)
        except ReplayRefusedError:
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, request: ReplayRequest, timeout_s: float, stopped: Callable[[], bool]) -> Answer:
        socket = self._connected()
        socket.send(request.json_text().encode(), zmq.NOBLOCK)
        events: list[EventMessage] = []
        deadline = time.monotonic() + timeout_s
        while True:
            if stopped():
                raise ReplayError("stopped while waiting for the replay")
            if not socket.poll(round(1000 * min(_PATIENCE_S, timeout_s))):
                if time.monotonic() >= deadline:
                    raise ReplayError(f"no answer from the replay socket {self.address} in {timeout_s:g} s")
                continue
            deadline = time.monotonic() + timeout_s
            frames = socket.recv_multipart()
            try:
                if len(events) > request.limit:
                    raise WireError("more than it was asked for")
                if len(frames) == 2:
                    events.append(EventMessage.parse(frames[1]))
                elif len(frames) == 1:
                    return _closed(events, frames[0])
                else:
                    raise WireError(f"a message of {len(frames)} frames")
            except WireError as error:
                raise ReplayError(f"the replay socket {self.address} answered nonsense: {error}") from None

    def _connected(self) -> zmq.Socket[bytes]:
        if self._socket is not None:
            return self._socket
        socket = self._socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.rcvhwm = 0  # an answer has as many events as were asked for
        socket.maxmsgsize = MAX_MESSAGE_BYTES
        socket.ipv6 = "[" in self.address
        if self._curve:
            self._curve.apply(socket)
        socket.connect(self.address)
        return socket


def _closed(events: list[EventMessage], frame: bytes) -> Answer:
    try:
        end = ReplayEnd.parse(frame)
    except WireError:
        raise ReplayRefusedError(ReplayRefusal.parse(frame).error) from None
    return Answer(events, end.next, end.more, end.pruned_before)
