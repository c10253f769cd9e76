"""The client: every event once and in order, also across restarts of the publisher and of the client.

    for event in stream.subscribe.events("tcp://127.0.0.1:5556", camera="front-door"):
        print(event.start, event.phase, event.label, event.score)

To go on where a program left off, keep `event.position` and give it as `since` the next time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Literal

from stream.address import replay_address
from stream.security import ClientCurve
from stream.sequence import Gap
from stream.subscription import Item, Since, SubscribeError, Subscription
from stream.wire import EventMessage, HeartbeatMessage, Position, StatusMessage

__all__ = [
    "EventMessage",
    "Gap",
    "HeartbeatMessage",
    "Item",
    "Position",
    "StatusMessage",
    "SubscribeError",
    "Subscription",
    "events",
    "messages",
    "replay_address",
]


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
