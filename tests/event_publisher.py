"""A publisher process for tests: the real journal and sockets, fed with made-up scores, until it is killed.

    python tests/event_publisher.py JOURNAL PUB REPLAY [CAMERAS [EVERY_S]]

Writes a line when it serves. On SIGTERM it ends everything as the service does.
"""

from __future__ import annotations

import os
import queue
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import zmq

from stream.event_machine import EventMachine, Step
from stream.events import EndReason, Rules
from stream.frame import NS_PER_S, ClockSource, StreamKey
from stream.journal import Journal, Retention
from stream.publish import Publisher
from stream.report import Clock, Reporter
from stream.wire import EventDraft, EventMessage, Latency, ModelRef

LABELS = ("walk", "run", "wave")
RULES = {label: Rules(min_duration_s=0.0, merge_gap_s=0.0) for label in LABELS}
STEP_NS = NS_PER_S // 4

R = TypeVar("R")


class Feed:
    """Changes of one camera's zone, made from random but plausible scores."""

    def __init__(self, camera: str, seed: int, zone: str = "full") -> None:
        self.machine = EventMachine(LABELS, RULES)
        self.reporter = Reporter(StreamKey(camera, zone), ModelRef(name="recorded", version="1"))
        self._random = random.Random(seed)
        self._clock = Clock(time.time_ns(), ClockSource.ARRIVAL)
        self._now_ns = 0

    def drafts(self) -> list[EventDraft]:
        """What one more step brings: often nothing, sometimes an end and a start."""
        scores = np.zeros(len(LABELS), np.float32)
        if self._random.random() < 0.7:
            scores[self._random.randrange(len(LABELS))] = 0.9
        step = Step(self._now_ns, self._now_ns + STEP_NS, scores)
        self._now_ns = step.end_ns
        changes = self.machine.advance([step])
        latency = Latency(queue=1.0, infer=2.0)
        return self.reporter.drafts(changes, self._clock, latency=latency, arrival_ns=time.monotonic_ns())

    def finish(self, reason: EndReason = EndReason.SHUTDOWN) -> list[EventDraft]:
        return self.reporter.drafts(self.machine.finish(reason))


@contextmanager
def publisher_in(
    folder: Path, address: str = "tcp://127.0.0.1:0", replay: str = "tcp://127.0.0.1:0", **options: object
) -> Iterator[Publisher]:
    """A publisher in this process, on free ports, with its journal in `folder`."""
    journal = Journal(folder / "events.sqlite3")
    try:
        publisher = Publisher(journal, address=address, replay=replay, **options)  # type: ignore[arg-type]
        try:
            yield publisher
        finally:
            publisher.close()
    finally:
        journal.close()


def turn(publisher: Publisher, timeout_s: float = 0.01) -> None:
    """One turn of a main loop."""
    poller = zmq.Poller()
    for served in publisher.sockets():
        poller.register(served, zmq.POLLIN)
    poller.poll(round(1000 * min(timeout_s, publisher.tick())))
    publisher.handle_requests()


class PublisherThread:
    """A publisher and its main loop in a thread of this process, on the given addresses."""

    def __init__(self, folder: Path, addresses: tuple[str, str], **options: object) -> None:
        self._folder, self._addresses, self._options = folder, addresses, options
        self._calls: queue.SimpleQueue[tuple[Callable[[Publisher], object], Future[object]]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._started: Future[str] = Future()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self.run = self._started.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def call(self, function: Callable[[Publisher], R]) -> R:
        """Have the publisher's thread do something, and wait for it."""
        future: Future[object] = Future()
        self._calls.put((function, future))
        return future.result(10)  # type: ignore[return-value]

    def publish(self, drafts: Sequence[EventDraft]) -> list[EventMessage]:
        return self.call(lambda publisher: publisher.publish(drafts))

    def fill(self, events: int, camera: str = "yard") -> list[EventMessage]:
        """Publish so many events of a camera; all that begins ends, with one more perhaps."""
        feed, drafts = Feed(camera, seed=events), []
        while len(drafts) < events - 1:
            drafts += feed.drafts()
        drafts += feed.finish()
        return [message for draft in drafts for message in self.publish([draft])]

    def _run(self) -> None:
        try:
            with publisher_in(self._folder, *self._addresses, **self._options) as publisher:
                self._started.set_result(publisher._journal.run)
                while not self._stopping.is_set():
                    while not self._calls.empty():
                        function, future = self._calls.get()
                        future.set_result(function(publisher))
                    turn(publisher, 0.001)
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)


def free_addresses() -> tuple[str, str]:
    """Two addresses whose ports follow each other and were free just now."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port + 1}"
    raise OSError("no two free ports in a row")


def read_journal(folder: Path) -> list[EventMessage]:
    """All events of a journal that nobody has open."""
    with closing(Journal(folder / "events.sqlite3")) as journal:
        return [EventMessage.parse(text) for _, text in journal.read("first", None, 10**9).events]


def main(journal_path: str, address: str, replay: str, cameras: str = "1", every_s: str = "0.002") -> None:
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    journal = Journal(Path(journal_path), retention=Retention())
    publisher = Publisher(journal, address=address, replay=replay)
    print("serving", journal.run, flush=True)
    feeds = [Feed(f"camera-{i}", seed=os.getpid() + i) for i in range(int(cameras))]
    while not stopping:
        for feed in feeds:
            publisher.publish(feed.drafts())
        turn(publisher, float(every_s))
    for feed in feeds:
        publisher.publish(feed.finish())
    publisher.close()
    journal.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
