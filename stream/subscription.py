"""Subscription: one client's connection to a publisher; every event once and in order.

Live messages come from the PUB socket. Where they show a hole (a message dropped, a publisher restarted, a
connection lost: see `stream.sequence`), it is filled from the replay socket before anything later is handed over.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal, Self

import zmq

from stream.address import AddressError, check_address, replay_address
from stream.feed import QUEUE, Feed
from stream.replay import ReplayClient, ReplayError, ReplayRefusedError
from stream.security import ClientCurve
from stream.sequence import Gap, Sequence, Verdict
from stream.wire import NAME_PATTERN, EventMessage, HeartbeatMessage, Position, StatusMessage

log = logging.getLogger(__name__)

Item = EventMessage | StatusMessage | HeartbeatMessage | Gap
Since = Position | tuple[str, int] | str | None

PAGE = 500  # events asked for at a time
ANSWER_S = 2.0  # how long one replay request may take
TRIES = 3  # a replay is asked so often, while messages of one run come, until a gap is told
RETRY_S = 30.0  # a replay that did not answer is left alone for so long
_SLICE_MS = 100


class SubscribeError(Exception):
    """The publisher cannot be subscribed to. The text says what to do."""


class Subscription:
    """A connection to one publisher, from now on. Iterate `events` or `messages`, from one thread.

    replay: its address; "auto": the port after the publisher's; None: there is none, and gaps are told.
    camera: only this one. since: "first" (all that the journal has), "last" or None (from now on), or the
    position of the last event seen, also as "RUN:SEQ". curve: keys, if the publisher wants them.
    Raises SubscribeError for an address, a camera or a position that cannot be.
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
        where = replay_address(address) if replay == "auto" else replay
        try:
            for endpoint in (address, *([where] if where else [])):
                check_address(endpoint, to_bind=False)
        except AddressError as error:
            raise SubscribeError(str(error)) from None
        if camera is not None and (len(camera) > 64 or not re.fullmatch(NAME_PATTERN, camera)):
            raise SubscribeError(
                f"no camera is named {camera!r}: expected small letters a-z, digits and hyphens, at most 64"
            )
        self.address = address
        self.camera = camera
        since = _position(since)
        self._sequence = Sequence(camera, since if isinstance(since, Position) else None)
        # now: where that is has not been asked yet; unknown: asked in vain; owed: the journal is to be asked first
        self._state: Literal["now", "unknown", "owed", "live"] = "now" if since in (None, "last") else "owed"
        self._guessed = False  # "now" was taken to be the beginning of the first run heard of
        self._trouble = "this publisher has no replay socket"
        self._failed = ("", 0)  # tries in a row, and of which run
        self._held: deque[EventMessage] = deque(maxlen=QUEUE)  # live events whose turn is after what is missing
        self._retry_s = 0.0  # monotonic: before this a silent replay is not tried again
        self._stopped: Callable[[], bool] = lambda: False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._replay = ReplayClient(self._context, where, curve) if where else None
        try:
            self._feed = Feed(self._context, address, camera, curve)
        except zmq.ZMQError as error:
            self._context.term()
            raise SubscribeError(f"cannot connect to {address}: {error.strerror}") from None

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
        self._feed.close()
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
            if self._held and self._state == "live":
                yield from self._event(self._held[0])
                if self._state == "live":
                    self._held.popleft()
            elif self._feed.poll(_SLICE_MS):
                message = self._feed.receive()
                if isinstance(message, EventMessage):
                    self._held.append(message)
                    if self._state != "live":
                        yield from self._fill(message.run)
                elif isinstance(message, HeartbeatMessage):
                    yield from self._beat(message)
                    yield message
                elif message is not None:
                    yield message
            else:
                if refusal := self._feed.refusal():
                    raise SubscribeError(f"{self.address} {refusal}")
                yield None

    def _first(self) -> Iterator[Item]:
        """Find out where "now" is, or catch up with what was asked for; if nobody answers, later."""
        if self._replay is None or self._state not in ("now", "owed"):
            return
        try:
            if self._state == "now":
                self._state = "unknown"
                self._sequence.move(self._replay.ask("last", None, 1, timeout_s=ANSWER_S, stopped=self._stopped).next)
            else:
                yield from self._catch_up()
            self._state = "live"
        except ReplayRefusedError:
            pass  # a run it does not know: dealt with at the first heartbeat, which names the run there is
        except ReplayError as error:
            log.info("%s; waiting for the publisher", error)

    def _event(self, event: EventMessage) -> Iterator[Item]:
        """Hand over an event, after all that was missing before it; or leave it held, if that has to wait."""
        if self._sequence.judge(event) is Verdict.AHEAD:
            yield from self._fill(event.run)
        verdict = self._sequence.judge(event)
        if self._state != "live" or verdict is Verdict.SEEN:
            return
        if verdict is Verdict.AHEAD:
            yield Gap(self._sequence.cursor, event.position, self._trouble)
        self._sequence.move(event.position)
        yield event

    def _beat(self, beat: HeartbeatMessage) -> Iterator[Item]:
        if self._state != "live" or self._sequence.behind(beat):
            yield from self._fill(beat.run)
        if self._state != "live" or self._held:
            return  # the events that wait come first
        newest = beat.last.get(self.camera) if self.camera else Position(run=beat.run, seq=beat.seq)
        if self._sequence.cursor is None:
            self._sequence.move(Position(run=beat.run, seq=beat.seq))
        elif newest and self._sequence.behind(beat):
            gap = Gap(self._sequence.cursor, Position(run=newest.run, seq=newest.seq + 1), self._trouble)
            self._sequence.move(newest)
            yield gap

    def _fill(self, run: str) -> Iterator[Item]:
        """Hand over what the journal has. `run`: that of the message which showed that something is missing.

        Afterwards the state is `live`: the journal has given all, or has been given up. Or it is not, and the next
        message is reason to try again.
        """
        if self._state in ("now", "unknown"):
            # Nobody answered when this subscription began, so the publisher came up later: its run is all new.
            self._sequence.move(Position(run=run, seq=0))
            self._state, self._guessed = "owed", True
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
            if self._replay and time.monotonic() >= self._retry_s:
                self._failed = (run, self._failed[1] + 1 if self._failed[0] == run else 1)
                if self._failed[1] < TRIES:
                    # It may have died since its last message. Only one that comes from now on shows that it lives,
                    # and only one of the same run that it lives and yet does not answer.
                    self._state = "owed"
                    yield from self._hold_queue()
                    return
                self._retry_s, self._trouble = time.monotonic() + RETRY_S, str(error)
            if self._guessed:
                self._sequence = Sequence(self.camera)  # then "now" is the first event heard
            elif self._sequence.cursor is None:
                yield Gap(None, Position(run=run, seq=1), self._trouble)
        self._state, self._failed, self._guessed = "live", ("", 0), False

    def _hold_queue(self) -> Iterator[StatusMessage]:
        """Take in what waits on the socket."""
        while self._feed.poll(0):
            message = self._feed.receive()
            if isinstance(message, EventMessage):
                self._held.append(message)
            elif isinstance(message, StatusMessage):
                yield message

    def _catch_up(self) -> Iterator[Item]:
        """Ask until there is no more, and hand it over. Raises ReplayError."""
        assert self._replay is not None
        while True:
            after = self._sequence.cursor
            answer = self._replay.ask(after or "first", self.camera, PAGE, timeout_s=ANSWER_S, stopped=self._stopped)
            self._failed = ("", 0)
            first = answer.events[0] if answer.events else None
            if deleted := self._sequence.deleted_until(answer.pruned_before, first):
                yield Gap(self._sequence.cursor, deleted, "the publisher's journal does not have them")
                self._sequence.move(Position(run=deleted.run, seq=max(0, deleted.seq - 1)))
            for event in answer.events:
                if self._sequence.covers(event.position):
                    continue
                if self._sequence.missing_before(event):
                    yield Gap(self._sequence.cursor, event.position, "the publisher's journal does not have them")
                self._sequence.move(event.position)
                yield event
            self._sequence.move(answer.next)
            if not answer.more:
                return
            if answer.next == after:
                raise ReplayError("the replay socket says that there is more and gives nothing")


def _position(since: Since) -> Position | Literal["first", "last"] | None:
    if since is None or isinstance(since, Position):
        return since
    if since == "first":
        return "first"
    if since == "last":
        return "last"
    try:
        return Position.of(f"{since[0]}:{since[1]}" if isinstance(since, tuple) else since)
    except ValueError as error:
        raise SubscribeError(f"{error}, or first, or last") from None


def _warn(gap: Gap) -> None:
    log.warning("%s", gap)
