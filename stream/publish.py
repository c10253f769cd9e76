"""Publisher: events, statuses and the heartbeat to whoever listens, and the journal to whoever missed some.

Everything happens in the thread that calls: a main loop polls `sockets()`, calls `handle_requests()` when one of
them can be read, and `tick()` at least every second. Nothing here ever waits for a client. A subscriber that
does not read fills its own queue (`queue` messages), then loses live messages and nothing else; the replay socket
gives them again.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq

from stream.address import AddressError, check_address
from stream.failure import ErrorClass
from stream.frame import NS_PER_S
from stream.journal import Journal, JournalError, Page
from stream.journal_backlog import HELD_EVENTS
from stream.security import Gate, ServerCurve, check_bind
from stream.wire import (
    HEARTBEAT_TOPIC,
    CameraState,
    EventDraft,
    EventMessage,
    HeartbeatMessage,
    ReplayEnd,
    ReplayRefusal,
    ReplayRequest,
    StatusMessage,
    WireError,
    iso_utc,
)

log = logging.getLogger(__name__)

PUBLISH_ADDRESS = "tcp://127.0.0.1:5556"
REPLAY_ADDRESS = "tcp://127.0.0.1:5557"

HEARTBEAT_EVERY_NS = NS_PER_S
STATUS_EVERY_NS = 10 * NS_PER_S
PRUNE_EVERY_NS = 10 * NS_PER_S
HELD_EVERY_NS = NS_PER_S
TROUBLE_EVERY_NS = 60 * NS_PER_S
RETURN_NS = NS_PER_S  # libzmq tries to connect again ten times in this time

MAX_REQUEST_BYTES = 4096  # a request is some 100 bytes; it is refused in words
MAX_FRAME_BYTES = 65536  # of anything a client asks; beyond, libzmq drops the client before reading it
MAX_TOPIC_BYTES = 512  # of a subscription, likewise: for each byte of one, libzmq keeps a node of a tree
ANSWERING_S = 0.02  # at a time; then the main loop has its turn again
LINGER_MS = 1000

_PUBLISH, _REPLAY = "--publish (publish.address)", "--replay (replay.address)"
_HINTS = {
    errno.EADDRINUSE: "another program has this port. Is swinstream running already? Stop it, or choose another "
    "port with {option}",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose one it has, or 127.0.0.1, with {option}",
    errno.ENODEV: "this machine has no such address or network interface; choose another with {option}",
    errno.EACCES: "this user may not use the port; choose one above 1023 with {option}",
}


class PublishError(Exception):
    """A socket cannot be opened. The text names the address and says what to do."""


@dataclass(slots=True)
class PublisherStats:
    """Counts since the start. (What a slow subscriber's queue drops, libzmq does not tell; it replays it.)

    events: sent. replays: requests answered; refused: of those, with an error. journal_failures: attempts to write
    that failed; journal_full: it cannot be written now; held: events that wait in memory for that; lost: events that
    the journal will never have.
    """

    events: int = 0
    replays: int = 0
    refused: int = 0
    journal_failures: int = 0
    journal_full: bool = False
    held: int = 0
    lost: int = 0


class Publisher:
    """The PUB and the ROUTER socket of one run of the journal, which stays the caller's to close.

    address, replay: to bind; port 0 takes a free one, and the attributes of the same names then say which.
    curve: serve only these clients, with encryption. queue: messages kept for a subscriber that is slow.
    max_events: in one answer, whatever a client asks for.
    clock_ns: monotonic, the same as `arrival_ns` of the drafts; utc_ns: since 1970.

    The ends of what the last run left open are sent before any other event: a second from now, when subscribers
    have found their way back, or with the first event if that is sooner. (Whoever comes later replays them.)
    Raises PublishError, SecurityError.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        address: str = PUBLISH_ADDRESS,
        replay: str = REPLAY_ADDRESS,
        curve: ServerCurve | None = None,
        allow_plaintext: bool = False,
        queue: int = 1000,
        max_events: int = 1000,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        utc_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        for endpoint, option in ((address, _PUBLISH), (replay, _REPLAY)):
            try:
                check_address(endpoint, to_bind=True)
            except AddressError as error:
                raise PublishError(f"{option}: {error}") from None
            check_bind(endpoint, curve=curve is not None, allow_plaintext=allow_plaintext)
        self._journal = journal
        self._max_events = max_events
        self.stats = PublisherStats()
        self._clock_ns, self._utc_ns = clock_ns, utc_ns
        self._statuses: dict[str, StatusMessage] = {}
        now_ns = clock_ns()
        self._due_ns = {"heartbeat": now_ns, "status": now_ns + STATUS_EVERY_NS, "held": now_ns, "prune": now_ns}
        self._trouble = ""  # the journal's, as last told
        self._trouble_told_ns = 0
        # A context of its own: ZAP's address is one per context.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pub = self._context.socket(zmq.PUB)
        self._router = self._context.socket(zmq.ROUTER)
        self._gate = Gate(self._context, curve.clients) if curve else None
        try:
            self._pub.sndhwm = queue
            self._router.sndhwm = 2 * (max_events + 1)  # an answer fits whole, whatever the client does
            self._router.rcvhwm = 100
            self._router.router_mandatory = True  # say so when an answer cannot be sent, rather than send half of it
            for socket in (self._pub, self._router):
                socket.maxmsgsize = MAX_TOPIC_BYTES if socket is self._pub else MAX_FRAME_BYTES
                socket.linger = LINGER_MS
                socket.tcp_keepalive = 1
                if "[" in address + replay:
                    socket.ipv6 = True
                if curve:
                    curve.apply(socket)
            # Replay first: who hears the first message may ask at once.
            self.replay = _bind(self._router, replay, _REPLAY)
            self.address = _bind(self._pub, address, _PUBLISH)
        except BaseException:
            self.close()
            raise
        self._recovered = list(journal.recovered)
        if self._recovered:
            self._due_ns["recovered"] = now_ns + RETURN_NS

    # ---- out

    def publish(self, drafts: Sequence[EventDraft]) -> list[EventMessage]:
        """Write events to the journal, then send them. What it cannot write it holds, and it is sent all the same.

        `latency_ms.total` is counted here, before writing (0.1 ms), so that journal and wire say the same.
        """
        if not drafts:
            return []
        now_ns = self._clock_ns()
        messages = self._journal.append([_with_total(draft, now_ns) for draft in drafts])
        self._look_at_journal()
        self._send_events([*self._recovered, *messages])
        return messages

    def status(
        self,
        camera: str,
        state: CameraState,
        *,
        error: ErrorClass | None = None,
        message: str | None = None,
        next_try_s: float | None = None,
        fps: float | None = None,
    ) -> None:
        """Tell how a camera is. Sent at once if anything but fps is new, and again every ten seconds.

        message: one line without a secret. next_try_s: seconds from now.
        """
        now_ns = self._utc_ns()
        status = StatusMessage(
            run=self._journal.run,
            camera=camera,
            state=state,
            error=error,
            message=message or None,
            next_try=None if next_try_s is None else iso_utc(now_ns + round(next_try_s * NS_PER_S)),
            fps=None if fps is None else round(fps, 2),
            time=iso_utc(now_ns),
        )
        last = self._statuses.get(camera)
        self._statuses[camera] = status
        if last is None or (last.state, last.error, last.message) != (state, error, status.message) or next_try_s:
            self._send_status(status)

    def forget(self, camera: str) -> None:
        """No longer repeat the status of a camera that was removed."""
        self._statuses.pop(camera, None)

    def tick(self) -> float:
        """Do what is due (heartbeat, statuses, pruning); the seconds until something is due again."""
        now_ns = self._clock_ns()
        if self._due("heartbeat", now_ns, HEARTBEAT_EVERY_NS):
            head = self._journal.head
            beat = HeartbeatMessage(run=head.run, seq=head.seq, last=self._journal.last)
            self._send(HEARTBEAT_TOPIC, beat.json_text())
        if self._recovered and now_ns >= self._due_ns["recovered"]:
            self._send_events(self._recovered)
        if self._due("status", now_ns, STATUS_EVERY_NS):
            self._send_statuses()
        if self._due("held", now_ns, HELD_EVERY_NS):
            self._journal.write_held()
            self._look_at_journal()
        if self._due("prune", now_ns, PRUNE_EVERY_NS) and not self._trouble:
            try:
                if self._journal.prune():
                    self._due_ns["prune"] = now_ns  # there is more: again at the next turn of the loop
            except JournalError as error:
                log.error("old events are not deleted: %s", error)
        return max(0.0, (min(self._due_ns.values()) - self._clock_ns()) / NS_PER_S)

    # ---- in

    def sockets(self) -> list[zmq.Socket[bytes]]:
        """To poll for reading."""
        return [self._router] + ([self._gate.socket] if self._gate else [])

    def handle_requests(self) -> int:
        """Answer waiting replay requests (and, with CURVE, let clients in), without blocking.

        Returns how many were answered. After ANSWERING_S it returns early, and the socket stays readable: however
        much is asked, results wait no longer than that. Clients have their turns one after the other.
        """
        if self._gate:
            self._gate.handle()
        count, until_s = 0, time.monotonic() + ANSWERING_S
        while time.monotonic() < until_s:
            try:
                client, *request = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            count += 1
            self.stats.replays += 1
            try:
                for frames in self._answer(request):
                    self._router.send_multipart([client, *frames], zmq.NOBLOCK)
            except zmq.ZMQError as error:
                # EAGAIN: it asks more than it reads. EHOSTUNREACH: it is gone. It can ask again.
                log.debug("a replay client takes no answer: %s", error)
        return count

    def close(self) -> None:
        """Close the sockets; what was sent has up to a second to leave. May be called twice."""
        for socket in (self._pub, self._router, *([self._gate.socket] if self._gate else [])):
            socket.close()
        self._context.term()

    # ---- inside

    def _send(self, topic: str, text: str) -> None:
        self._pub.send_multipart([topic.encode(), text.encode()], zmq.NOBLOCK)

    def _send_events(self, messages: Sequence[EventMessage]) -> None:
        self._recovered = []
        self._due_ns.pop("recovered", None)
        self.stats.events += len(messages)
        for message in messages:
            self._send(message.topic, message.json_text())

    def _send_status(self, status: StatusMessage) -> None:
        if self._trouble:
            status = status.model_copy(update={"message": "; ".join(filter(None, (status.message, self._trouble)))})
        self._send(status.topic, status.json_text())

    def _send_statuses(self) -> None:
        for camera, status in self._statuses.items():
            self._statuses[camera] = status.model_copy(update={"time": iso_utc(self._utc_ns())})
            self._send_status(self._statuses[camera])

    def _look_at_journal(self) -> None:
        """Say it, in the log and in every status, when the journal can no longer be written, and when it can again."""
        journal, stats, now_ns = self._journal, self.stats, self._clock_ns()
        stats.journal_failures, stats.journal_full = journal.failures, bool(journal.trouble)
        stats.held, stats.lost = journal.held, journal.lost
        changed = bool(journal.trouble) != bool(self._trouble)
        self._trouble = journal.trouble
        if changed:
            self._send_statuses()
        if self._trouble and (changed or now_ns - self._trouble_told_ns >= TROUBLE_EVERY_NS):
            self._trouble_told_ns = now_ns
            log.error(
                "%s; recognition goes on, %d events are held in memory (at most %d), %d are lost",
                *(self._trouble, stats.held, HELD_EVENTS, stats.lost),
            )
        elif changed:
            log.warning("the journal is written again, with all that was held; %d events are lost", stats.lost)

    def _due(self, what: str, now_ns: int, every_ns: int) -> bool:
        if now_ns < self._due_ns[what]:
            return False
        # In step with the clock, but no volley after the machine has slept.
        self._due_ns[what] = max(self._due_ns[what] + every_ns, now_ns + every_ns // 2)
        return True

    def _answer(self, request: list[bytes]) -> list[list[bytes]]:
        """The messages that answer a request, each a list of frames."""
        try:
            page = self._page(request)
        except (WireError, JournalError) as error:
            self.stats.refused += 1
            return [[ReplayRefusal(error=str(error)).json_text().encode()]]
        end = ReplayEnd(next=page.next, more=page.more, pruned_before=page.kept_from)
        return [[topic.encode(), text.encode()] for topic, text in page.events] + [[end.json_text().encode()]]

    def _page(self, request: list[bytes]) -> Page:
        if len(request) != 1:
            raise WireError(f"a request is one frame of JSON, this one has {len(request)} (ask from a DEALER socket)")
        if len(request[0]) > MAX_REQUEST_BYTES:
            raise WireError(f"a request may have {MAX_REQUEST_BYTES} bytes, this one has {len(request[0])}")
        asked = ReplayRequest.parse(request[0])
        return self._journal.read(asked.after, asked.camera, min(asked.limit, self._max_events))


def _with_total(draft: EventDraft, now_ns: int) -> EventDraft:
    if draft.arrival_ns is None:
        return draft
    total = round((now_ns - draft.arrival_ns) / 1e6, 1)
    return draft.model_copy(update={"latency_ms": draft.latency_ms.model_copy(update={"total": total})})


def _bind(socket: zmq.Socket[bytes], address: str, option: str) -> str:
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        hint = _HINTS.get(error.errno or 0, "choose another with {option}").format(option=option)
        raise PublishError(f"cannot serve {address}: {error.strerror}: {hint}") from None
    bound: bytes = socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
    return bound.rstrip(b"\0").decode()
