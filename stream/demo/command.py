"""`swinstream demo`: the demo camera, the recognizer and a subscriber, on one screen, held against the truth."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.spec import NONE_LABEL
from stream import subscribe as client
from stream.commands import FAILED, OK, guarded
from stream.config import Config
from stream.demo.camera import DemoCamera
from stream.demo.score import Score, Span, is_right, score
from stream.events import Phase
from stream.frame import NS_PER_S
from stream.live import Screen
from stream.logs import set_up_logging
from stream.plan import make_plan
from stream.publish import Publisher
from stream.screen import camera_table, event_text
from stream.serve import serve
from stream.service import Service
from stream.wire import EventMessage, utc_ns

GRACE_NS = 3 * NS_PER_S
"""An action is counted when it has been over for so long: its event may still be on its way."""


class Audience:
    """Listens to the published events over ZeroMQ, in a thread, and holds them against the demo's truth."""

    def __init__(self, camera: DemoCamera, out: Console, *, as_json: bool, quiet: bool) -> None:
        self._camera = camera
        self._out = out
        self._as_json = as_json
        self._quiet = quiet
        self._events: dict[str, EventMessage] = {}  # the newest message of each, by id
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.recent: deque[tuple[EventMessage, bool]] = deque(maxlen=12)
        self._since_utc_ns = time.time_ns()

    def listen(self, publisher: Publisher) -> None:
        """Subscribe; called once the publisher's sockets are open."""
        self._since_utc_ns = time.time_ns()
        events = client.events(publisher.address, replay=publisher.replay, since="last", stop=self._stop)
        self._thread = threading.Thread(target=self._hear, args=(events,), name="audience", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _hear(self, events: Iterator[EventMessage]) -> None:
        for event in events:
            with self._lock:
                self._events[event.id] = event
                right = is_right(_span(event), self._truth(time.time_ns()))
                if event.phase is not Phase.UPDATE:
                    self.recent.append((event, right))
            if self._as_json:
                sys.stdout.write(event.json_text() + "\n")
                sys.stdout.flush()
            elif event.phase is not Phase.UPDATE and not self._quiet:
                self._out.print(_judged(event, right))

    def _truth(self, until_utc_ns: int) -> list[Span]:
        return [Span(*span) for span in self._camera.truth(self._camera.start_utc_ns, until_utc_ns)]

    def now(self) -> str:
        """What the actor is doing."""
        return self._truth(time.time_ns() + 1)[-1].label

    def score(self) -> Score:
        """Of the actions that began after listening did, and have been over for a moment, and of all events."""
        now_ns = time.time_ns()
        truth = self._truth(now_ns)
        with self._lock:
            events = [_span(event) for event in self._events.values()]
        over = [
            span
            for span in truth
            if span.start_ns >= self._since_utc_ns and span.end_ns is not None and span.end_ns < now_ns - GRACE_NS
        ]
        counted = score(over, events)
        return counted._replace(false_events=score(truth, events).false_events)


def _span(event: EventMessage) -> Span:
    return Span(event.label, utc_ns(event.start), None if event.end is None else utc_ns(event.end))


def _judged(event: EventMessage, right: bool) -> Text:
    mark = ("right ", "green") if right else ("wrong ", "red")
    return Text.assemble(mark, event_text(event))


def demo(seed: int, seconds: float | None, options: dict[str, str | None], as_json: bool) -> int:
    """Returns the exit code: 0, or 1 if something failed. Right and wrong events change nothing about it."""
    err = Console(stderr=True)
    out = Console(highlight=False, soft_wrap=True)
    set_up_logging(as_json=as_json)
    live = err.is_terminal and out.is_terminal and not as_json
    with (
        guarded(err) as code,
        tempfile.TemporaryDirectory(prefix="swinstream-demo-") as folder,
        DemoCamera(seed=seed, caption=False) as camera,
    ):
        config = Config.from_cameras([f"demo={camera.url}"]).with_options(
            **options, journal=str(Path(folder) / "events.sqlite3")
        )
        audience = Audience(camera, out, as_json=as_json, quiet=live)
        if not as_json:
            err.print(f"demo camera at {camera.url}: a drawn actor and its time table; watch it with any player")
        timer = threading.Timer(seconds or 0, os.kill, (os.getpid(), signal.SIGINT)) if seconds else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            screen = Screen(err, lambda service, header: picture(service, header, audience)) if live else None
            done = serve(config, make_plan(config), lambda _: None, screen, on_ready=audience.listen)
            code[0] = OK if done else FAILED
        finally:
            if timer is not None:
                timer.cancel()
            audience.close()
        if not as_json:
            err.print(summary(audience.score()))
    return code[0]


def summary(counted: Score) -> str:
    """How it went, in a line."""
    return (
        f"{counted.right} of {counted.expected} actions recognized, "
        f"{counted.false_events} wrong event{'' if counted.false_events == 1 else 's'}"
    )


def picture(service: Service, header: str, audience: Audience) -> RenderableType:
    """The demo's screen: what the actor does, what the recognizer says, and how often it was right."""
    doing = audience.now()
    zone = next(iter(next(iter(service.cameras.values())).zones.values()))
    seen: Sequence[str] = [event.label for event in zone.machine.open_events]
    versus = Table.grid(padding=(0, 2))
    versus.add_row("the actor does", Text(doing if doing != NONE_LABEL else "nothing", "bold cyan"))
    style = "bold green" if doing in seen or (doing == NONE_LABEL and not seen) else "bold yellow"
    versus.add_row("recognized", Text(", ".join(seen) or "nothing", style))
    versus.add_row("so far", summary(audience.score()))
    lines = [_judged(event, right) for event, right in list(audience.recent)]
    return Group(camera_table(service.cameras, header), versus, Text("\npublished events", "bold"), *lines)
