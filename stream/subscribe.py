"""The client: every event once and in order, also across restarts of the publisher and of the client.

    for event in stream.subscribe.events("tcp://127.0.0.1:5556", camera="front-door"):
        print(event.start, event.phase, event.label, event.score)

Live messages come from the PUB socket. Where they show a hole (a message dropped, a publisher restarted, a
connection lost: see `stream.sequence`), it is filled from the replay socket before anything later is handed over.
To go on where a program left off, keep `event.position` and give it as `since` the next time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal, Self

import zmq
from zmq.utils.monitor import recv_monitor_message

from stream.replay import ReplayClient, ReplayError, ReplayRefusedError
from stream.security import ClientCurve
from stream.sequence import Gap, Sequence, Verdict
from stream.wire import (
    HEARTBEAT_TOPIC,
    EventMessage,
    HeartbeatMessage,
    Position,
    StatusMessage,
    WireError,
    event_prefix,
    status_prefix,
)

log = logging.getLogger(__name__)

Item = EventMessage | StatusMessage | HeartbeatMessage | Gap
Since = Position | tuple[str, int] | str | None

PAGE = 500  # events asked for at a time
QUEUE = 10_000  # live messages kept while the caller is busy; what does not fit is replayed
ANSWER_S = 2.0  # how long one replay request may take
TRIES = 5  # a replay that has answered before is asked so often, while live messages come, until a gap is told
RETRY_S = 30.0  # a replay that did not answer is left alone for so long
_SLICE_MS = 100

_AUTH_FAILED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_PROTOCOL_FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


class SubscribeError(Exception):
    """The publisher cannot be subscribed to. The text says what to do."""


def replay_address(address: str) -> str | None:
    """Where a publisher's replay is unless told otherwise: the port after its PUB socket's; None if not TCP."""
    head, colon, port = address.rpartition(":")
    if not (address.startswith("tcp://") and colon and port.isdigit()):
        return None
    return f"{head}:{int(port) + 1}"


class Subscription:
    """A connection to one publisher, from now on. Iterate `events` or `messages`, from one thread.

    replay: its address; "auto": the port after the publisher's; None: there is none, and gaps are told.
    camera: only this one. since: "first" (all that the journal has), "last" or None (from now on), or the
    position of the last event seen, also as "RUN:SEQ". curve: keys, if the publisher wants them.
    Raises SubscribeError for an address or a position that cannot be.
    """

    def __init__(
        self,
        address: str = "tcp://127.0.0.1:5556",
        *,
        replay: str | Literal["auto"] | None = "auto",
        camera: str | None = None,
        since: Since = None,
        curve: ClientCurve | None = None,
    ) -> None:
        self.address = address
        self.camera = camera
        since = _position(since)
        self._sequence = Sequence(camera, since if isinstance(since, Position) else None)
        self._begin: Literal["now", "unknown", "owed", "live"] = "now" if since in (None, "last") else "owed"
        self._trouble = "this publisher has no replay socket"
        self._answered = False
        self._failed = 0  # tries in a row
        self._retry_s = 0.0  # monotonic: before this a silent replay is not tried again
        self._stopped: Callable[[], bool] = lambda: False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sub = self._context.socket(zmq.SUB)
        self._monitor = self._sub.get_monitor_socket(_AUTH_FAILED | _PROTOCOL_FAILED)
        where = replay_address(address) if replay == "auto" else replay
        self._replay = ReplayClient(self._context, where, curve) if where else None
        try:
            self._sub.rcvhwm = QUEUE
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
        except zmq.ZMQError as error:
            self.close()
            raise SubscribeError(f"cannot connect to {address!r}: {error.strerror}; expected tcp://HOST:PORT") from None

    @property
    def position(self) -> Position | None:
        """Everything up to here has been handed over: give it as `since` to go on after it."""
        return self._sequence.cursor

    def messages(self, *, timeout_s: float | None = None, stop: threading.Event | None = None) -> Iterator[Item]:
        """Events, and between them statuses, heartbeats, and gaps where events are lost for good.

        Ends after timeout_s without any of them, or soon after `stop` is set. Raises SubscribeError.
        """
        heard_s = time.monotonic()
        for item in self._items(stop):
            if item is not None:
                yield item
                heard_s = time.monotonic()
            elif timeout_s is not None and time.monotonic() - heard_s >= timeout_s:
                return

    def events(
        self,
        *,
        label: str | None = None,
        timeout_s: float | None = None,
        stop: threading.Event | None = None,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> Iterator[EventMessage]:
        """Every event once and in order. label: only these (others are passed over, not lost).

        Ends after timeout_s without an event, or soon after `stop` is set. on_gap: called where events are lost
        for good; by default a warning is logged. Raises SubscribeError.
        """
        heard_s = time.monotonic()
        for item in self._items(stop):
            if isinstance(item, EventMessage) and label in (None, item.label):
                yield item
                heard_s = time.monotonic()
            elif isinstance(item, Gap):
                (on_gap or _warn)(item)
            elif timeout_s is not None and time.monotonic() - heard_s >= timeout_s:
                return

    def close(self) -> None:
        """May be called twice."""
        if self._replay:
            self._replay.close()
        if not self._sub.closed:
            self._sub.disable_monitor()
        self._monitor.close()
        self._sub.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # ---- inside

    def _items(self, stop: threading.Event | None) -> Iterator[Item | None]:
        """Everything to hand over, and None at least every 100 ms where there is nothing."""
        self._stopped = stop.is_set if stop else lambda: False
        yield from self._first()
        while not self._stopped():
            if not self._sub.poll(_SLICE_MS):
                self._look_for_refusal()
                yield None
                continue
            message = _parsed(self._sub.recv_multipart())
            if isinstance(message, EventMessage):
                yield from self._event(message)
            elif isinstance(message, HeartbeatMessage):
                yield from self._beat(message)
                yield message
            elif isinstance(message, StatusMessage) and self.camera in (None, message.camera):
                yield message

    def _first(self) -> Iterator[Item]:
        """Find out where "now" is, or catch up with what was asked for; if nobody answers, later."""
        if self._replay is None or self._begin not in ("now", "owed"):
            return
        try:
            if self._begin == "now":
                self._begin = "unknown"
                self._sequence.move(self._replay.ask("last", None, 1, timeout_s=ANSWER_S, stopped=self._stopped).next)
                self._answered = True
            else:
                yield from self._catch_up()
            self._begin = "live"
        except ReplayRefusedError:
            pass  # a run it does not know: dealt with at the first heartbeat, which names the run there is
        except ReplayError as error:
            log.info("%s; waiting for the publisher", error)

    def _event(self, event: EventMessage) -> Iterator[Item]:
        if self._begin != "live" or self._sequence.judge(event) is Verdict.AHEAD:
            yield from self._fill(event.run)
        verdict = self._sequence.judge(event)
        if verdict is Verdict.SEEN or self._begin == "owed":  # owed: it is in the journal, and will come from there
            return
        if verdict is Verdict.AHEAD:
            yield Gap(self._sequence.cursor, event.position, self._trouble)
        self._sequence.move(event.position)
        yield event

    def _beat(self, beat: HeartbeatMessage) -> Iterator[Item]:
        if self._begin != "live" or self._sequence.behind(beat):
            yield from self._fill(beat.run)
        if self._begin == "owed":
            return
        newest = beat.last.get(self.camera) if self.camera else Position(run=beat.run, seq=beat.seq)
        if self._sequence.cursor is None:
            self._sequence.move(Position(run=beat.run, seq=beat.seq))
        elif newest and self._sequence.behind(beat):
            gap = Gap(self._sequence.cursor, Position(run=newest.run, seq=newest.seq + 1), self._trouble)
            self._sequence.move(newest)
            yield gap

    def _fill(self, run: str) -> Iterator[Item]:
        """Hand over what the journal has. `run`: that of the message which showed the hole.

        Where the journal cannot be asked, the cursor stays, and what is missing is either still owed (`_begin`)
        or given up.
        """
        begin, self._begin = self._begin, "live"
        cursor = self._sequence.cursor
        if begin in ("now", "unknown"):
            # Nobody answered when this subscription began, so the publisher came up later: its run is all new.
            self._sequence.move(Position(run=run, seq=0))
        try:
            if self._replay is None or time.monotonic() < self._retry_s:
                raise ReplayError(self._trouble)
            try:
                yield from self._catch_up()
            except ReplayRefusedError as error:
                # Most likely another journal: what came before this run cannot be had from it.
                yield Gap(self._sequence.cursor, Position(run=run, seq=1), f"the publisher says: {error}")
                self._sequence.move(Position(run=run, seq=0))
                yield from self._catch_up()
        except ReplayError as error:
            self._failed += 1
            if self._answered and self._failed < TRIES:
                # The publisher may have died since. Only a message that comes from now on shows that it lives.
                self._begin = "owed"
                yield from self._discard_queue()
                return
            self._trouble = str(error)
            self._retry_s, self._failed = time.monotonic() + RETRY_S, 0
            if begin in ("now", "unknown"):
                self._sequence = Sequence(self.camera, cursor)
            elif cursor is None:
                yield Gap(None, Position(run=run, seq=1), self._trouble)

    def _discard_queue(self) -> Iterator[StatusMessage]:
        """Throw away events and heartbeats that wait: the journal has them all."""
        while self._sub.poll(0):
            message = _parsed(self._sub.recv_multipart())
            if isinstance(message, StatusMessage) and self.camera in (None, message.camera):
                yield message

    def _catch_up(self) -> Iterator[Item]:
        """Ask until there is no more, and hand it over. Raises ReplayError."""
        assert self._replay is not None
        while True:
            after = self._sequence.cursor
            answer = self._replay.ask(after or "first", self.camera, PAGE, timeout_s=ANSWER_S, stopped=self._stopped)
            self._answered, self._failed = True, 0
            for event in answer.events:
                if self._sequence.covers(event.position):
                    continue
                if self._sequence.lost_before(event, answer.pruned_before):
                    yield Gap(self._sequence.cursor, event.position, "the publisher's journal has deleted them")
                self._sequence.move(event.position)
                yield event
            self._sequence.move(answer.next)
            if not answer.more:
                return
            if answer.next == after:
                raise ReplayError("the replay socket says that there is more and gives nothing")

    def _look_for_refusal(self) -> None:
        while self._monitor.poll(0):
            failed = recv_monitor_message(self._monitor)["event"]
            if failed == _AUTH_FAILED:
                raise SubscribeError(
                    f"{self.address} does not know this client's key: its public key must be listed there "
                    "(security.clients)"
                )
            raise SubscribeError(f"{self.address} wants other security than this client has: CURVE keys, or none")


def events(
    address: str = "tcp://127.0.0.1:5556",
    *,
    camera: str | None = None,
    label: str | None = None,
    since: Since = None,
    replay: str | Literal["auto"] | None = "auto",
    timeout_s: float | None = None,
    stop: threading.Event | None = None,
    curve: ClientCurve | None = None,
    on_gap: Callable[[Gap], None] | None = None,
) -> Iterator[EventMessage]:
    """`Subscription.events`, connected at once and closed with the iterator."""
    subscription = Subscription(address, replay=replay, camera=camera, since=since, curve=curve)

    def stream() -> Iterator[EventMessage]:
        with subscription:
            yield from subscription.events(label=label, timeout_s=timeout_s, stop=stop, on_gap=on_gap)

    return stream()


def messages(
    address: str = "tcp://127.0.0.1:5556",
    *,
    camera: str | None = None,
    since: Since = None,
    replay: str | Literal["auto"] | None = "auto",
    timeout_s: float | None = None,
    stop: threading.Event | None = None,
    curve: ClientCurve | None = None,
) -> Iterator[Item]:
    """`Subscription.messages`, connected at once and closed with the iterator."""
    subscription = Subscription(address, replay=replay, camera=camera, since=since, curve=curve)

    def stream() -> Iterator[Item]:
        with subscription:
            yield from subscription.messages(timeout_s=timeout_s, stop=stop)

    return stream()


def _position(since: Since) -> Position | Literal["first", "last"] | None:
    if since is None or isinstance(since, Position):
        return since
    if isinstance(since, tuple):
        return Position(run=since[0], seq=since[1])
    if since == "first":
        return "first"
    if since == "last":
        return "last"
    try:
        return Position.of(since)
    except ValueError as error:
        raise SubscribeError(f"{error}, or first, or last") from None


def _parsed(frames: list[bytes]) -> EventMessage | HeartbeatMessage | StatusMessage | None:
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


def _warn(gap: Gap) -> None:
    log.warning("%s", gap)
