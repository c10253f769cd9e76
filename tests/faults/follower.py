"""Follower: a client of the running service that notes all it is told, and can be waited on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from stream.security import ClientCurve
from stream.sequence import Gap
from stream.subscription import Subscription
from stream.wire import EventMessage, Position, StatusMessage


class Told(NamedTuple):
    """A status, and when it came, by the monotonic clock."""

    at_s: float
    status: StatusMessage


class Follower:
    """Follows everything from the journal's first event on, in a thread of its own.

    events, statuses (of each camera), gaps: all that was told, in order. `restart` closes the
    connection and goes on where it left off.
    """

    def __init__(self, address: str, replay: str, curve: ClientCurve | None = None) -> None:
        self._address, self._replay, self._curve = address, replay, curve
        self.events: list[EventMessage] = []
        self.statuses: dict[str, list[Told]] = {}
        self.gaps: list[Gap] = []
        self.failure: BaseException | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._position: Position | None = None
        self._thread = self._begin()

    def restart(self, pause_s: float = 0.0) -> None:
        """As a program that is stopped and started again."""
        self.close()
        time.sleep(pause_s)
        self._stop.clear()
        self._thread = self._begin()

    def until(self, fits: Callable[[], bool], timeout_s: float, what: str = "what was waited for") -> None:
        """Wait until it holds; looked at whenever something was told. Raises AssertionError."""
        with self._changed:
            if not self._changed.wait_for(lambda: fits() or self.failure is not None, timeout_s):
                last = {name: (s.state, s.error, s.message) for name, s in self.latest().items()}
                raise AssertionError(f"in {timeout_s:g} s not {what}; cameras: {last}")
        if self.failure is not None:
            raise self.failure

    def latest(self) -> dict[str, StatusMessage]:
        """Each camera's last status."""
        return {camera: told[-1].status for camera, told in list(self.statuses.items())}

    def since(self, camera: str, at_s: float) -> list[Told]:
        """What was told of a camera since then, by the monotonic clock."""
        found = []
        for told in reversed(self.statuses.get(camera, [])):
            if told.at_s < at_s:
                break
            found.append(told)
        return found[::-1]

    def close(self) -> None:
        """May be called twice."""
        self._stop.set()
        self._thread.join(10.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="follower", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            since = self._position or "first"
            with Subscription(self._address, replay=self._replay, since=since, curve=self._curve) as subscription:
                for message in subscription.messages(stop=self._stop):
                    with self._changed:
                        match message:
                            case EventMessage():
                                self.events.append(message)
                            case StatusMessage():
                                self.statuses.setdefault(message.camera, []).append(Told(time.monotonic(), message))
                            case Gap():
                                self.gaps.append(message)
                            case _:
                                pass
                        self._position = subscription.position
                        self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  # raised in `until`
            with self._changed:
                self.failure = error
                self._changed.notify_all()
