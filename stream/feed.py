"""Feed: what one publisher sends from now on, as messages, and why it sends nothing if it refuses this client."""

from __future__ import annotations

import logging

import zmq
from zmq.utils.monitor import recv_monitor_message

from stream.replay import MAX_MESSAGE_BYTES
from stream.security import ClientCurve
from stream.wire import (
    HEARTBEAT_TOPIC,
    EventMessage,
    HeartbeatMessage,
    StatusMessage,
    WireError,
    event_prefix,
    status_prefix,
)

log = logging.getLogger(__name__)

QUEUE = 10_000  # messages kept while the caller is busy; what does not fit is lost here

_AUTH_FAILED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_PROTOCOL_FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


class Feed:
    """A SUB socket, for one thread. camera: only this one. Raises zmq.ZMQError for an address that cannot be."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        camera: str | None = None,
        curve: ClientCurve | None = None,
    ) -> None:
        self._camera = camera
        self._sub = context.socket(zmq.SUB)
        self._monitor = self._sub.get_monitor_socket(_AUTH_FAILED | _PROTOCOL_FAILED)
        try:
            self._sub.rcvhwm = QUEUE
            self._sub.maxmsgsize = MAX_MESSAGE_BYTES
            self._sub.linger = 0
            self._sub.ipv6 = "[" in address
            self._sub.tcp_keepalive = 1
            self._sub.heartbeat_ivl = 5000  # ZMTP's own: a peer that vanished without a word is noticed
            self._sub.reconnect_ivl_max = 1000
            if curve:
                curve.apply(self._sub)
            self._sub.connect(address)
            for prefix in (event_prefix(camera), status_prefix(camera), HEARTBEAT_TOPIC.encode()):
                self._sub.subscribe(prefix)
        except zmq.ZMQError:
            self.close()
            raise

    def poll(self, timeout_ms: int) -> bool:
        """Whether there is something to `receive` within the time."""
        return bool(self._sub.poll(timeout_ms))

    def receive(self) -> EventMessage | HeartbeatMessage | StatusMessage | None:
        """The next message; None if it is none of ours, or the status of another camera."""
        message = parsed(self._sub.recv_multipart())
        if isinstance(message, StatusMessage) and self._camera not in (None, message.camera):
            return None
        return message

    def refusal(self) -> str:
        """Why the publisher does not let this client in, if it has said so since the last call; or ""."""
        if not self._monitor.poll(0):
            return ""
        if recv_monitor_message(self._monitor)["event"] == _AUTH_FAILED:
            return "does not know this client's key: its public key must be listed there (security.clients)"
        return (
            "does not answer as a publisher: it wants other security than this client has (CURVE keys, or none), or "
            "another program has this port"
        )

    def close(self) -> None:
        """May be called twice."""
        if not self._sub.closed:
            self._sub.disable_monitor()
        self._monitor.close()
        self._sub.close()


def parsed(frames: list[bytes]) -> EventMessage | HeartbeatMessage | StatusMessage | None:
    """The message in the frames; None, and a line in the log, if it is none of ours."""
    topic = frames[0]
    try:
        if len(frames) != 2:
            raise WireError(f"it has {len(frames)} frames")
        if topic.startswith(b"event/"):
            return EventMessage.parse(frames[1])
        if topic.startswith(b"status/"):
            return StatusMessage.parse(frames[1])
        if topic == HEARTBEAT_TOPIC.encode():
            return HeartbeatMessage.parse(frames[1])
    except WireError as error:
        log.warning("a message on %r is passed over: %s", topic[:100], error)
    return None
