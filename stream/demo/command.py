"""`swinstream demo`: the demo camera, the recognizer and a subscriber, on one screen, held against the truth."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.spec import NONE_LABEL
from stream import subscribe as client
from stream.commands import FAILED, OK, EventLines, guarded
from stream.config import Config
from stream.demo.camera import DemoCamera
from stream.demo.score import Score, Span, Tally, is_right
from stream.events import Phase
from stream.live import Screen
from stream.logs import set_up_logging
from stream.plan import make_plan
from stream.publish import PUBLISH_ADDRESS, REPLAY_ADDRESS, Publisher
from stream.screen import camera_table, event_text
from stream.serve import Display, serve
from stream.service import Service
from stream.stopper import Stopper
from stream.wire import EventMessage, utc_ns

RECENT = 12  # events on the screen
FREE = "tcp://127.0.0.1:0"

RIGHT, WRONG = Text("right", "green"), Text("wrong", "red")


class Audience:
    """Listens to the published events over ZeroMQ, in a thread, and holds them against the demo's truth.

    on_event: called in that thread with each event and whether it is right. stop: set when listening is over early;
    `trouble` then says why.
    """

    def __init__(
        self, camera: DemoCamera, on_event: Callable[[EventMessage, Text], None], stop: threading.Event
    ) -> None:
        self._camera = camera
        self._on_event = on_event
        self._on_trouble = stop.set
        self._tally = Tally(time.time_ns())
        self._recent: deque[tuple[EventMessage, Text]] = deque(maxlen=RECENT)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.trouble: Exception | None = None

    def listen(self, publisher: Publisher) -> None:
        """Subscribe; called once the publisher's sockets are open."""
        self._tally = Tally(time.time_ns())
        events = client.events(publisher.address, replay=publisher.replay, since="last", stop=self._stop)
        self._thread = threading.Thread(target=self._hear, args=(events,), name="audience", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def recent(self) -> list[tuple[EventMessage, Text]]:
        """The last starts and ends, oldest first."""
        with self._lock:
            return list(self._recent)

    def now(self) -> str:
        """What the actor is doing."""
        now_ns = time.time_ns()
        return self._camera.truth(now_ns, now_ns + 1)[-1].label

    def score(self) -> Score:
        """Of the actions that began after listening did."""
        with self._lock:
            now_ns = time.time_ns()
            return self._tally.score(self._truth(now_ns), now_ns)

    def _truth(self, until_utc_ns: int) -> list[Span]:
        return [Span(*span) for span in self._camera.truth(self._tally.horizon_ns, until_utc_ns)]

    def _hear(self, events: Iterator[EventMessage]) -> None:
        try:
            for event in events:
                span = Span(event.label, utc_ns(event.start), None if event.end is None else utc_ns(event.end))
                with self._lock:
                    self._tally.add(event.id, span)
                    mark = RIGHT if is_right(span, self._truth(time.time_ns())) else WRONG
                    if event.phase is not Phase.UPDATE:
                        self._recent.append((event, mark))
                self._on_event(event, mark)
        except (client.SubscribeError, OSError) as error:  # OSError: standard output is closed
            self.trouble = error
            self._on_trouble()


def demo(seed: int, seconds: float | None, options: dict[str, str | None], as_json: bool) -> int:
    """Returns the exit code: 0, or 1 if something failed. Right and wrong events change nothing about it."""
    err = Console(stderr=True)
    set_up_logging(as_json=as_json)
    lines = EventLines(as_json=as_json)
    live = err.is_terminal and lines.is_terminal and not as_json

    def show(event: EventMessage, mark: Text) -> None:
        if not live:
            lines.show(event, mark)

    def display(audience: Audience) -> Display | None:
        return Screen(err, lambda service, header: picture(service, header, audience)) if live else None

    with Stopper() as stopper, guarded(err) as code:
        if notice := on_free_ports(options):
            err.print(notice, highlight=False, soft_wrap=True)
        announce = None if as_json else err
        done = perform(seed, options, stopper.event, show, display, seconds, announce)
        code[0] = OK if done else FAILED
    return code[0]


def perform(
    seed: int,
    options: dict[str, str | None],
    stop: threading.Event,
    show: Callable[[EventMessage, Text], None],
    display: Callable[[Audience], Display | None] = lambda audience: None,
    seconds: float | None = None,
    announce: Console | None = None,
) -> bool:
    """Run the demo until `stop` is set, or for some seconds. True if nothing failed.

    options: of `Config.with_options`. show: gets each event that was heard, and whether it is right. announce:
    where to say what is going on, before and after. Raises what the parts raise.
    """
    with tempfile.TemporaryDirectory(prefix="swinstream-demo-") as folder, DemoCamera(seed=seed) as camera:
        journal = str(Path(folder) / "events.sqlite3")
        config = Config.from_cameras([f"demo={camera.url}"]).with_options(**options, journal=journal)
        if announce is not None:
            announce.print(
                f"demo camera at {camera.url}: a drawn actor with a known time table; watch it with any player",
                highlight=False,
                soft_wrap=True,
            )
        audience = Audience(camera, show, stop)
        ending = threading.Timer(seconds or 0.0, stop.set)
        ending.daemon = True

        def ready(publisher: Publisher) -> None:
            audience.listen(publisher)
            if seconds is not None:
                ending.start()

        try:
            done = serve(config, make_plan(config), stop, lambda events: None, display(audience), ready)
        finally:
            ending.cancel()
            audience.close()
        if audience.trouble is not None:
            raise audience.trouble
        if announce is not None:
            announce.print(str(audience.score()), highlight=False)
        return done


def on_free_ports(options: dict[str, str | None]) -> str:
    """Where the usual ports are taken and no others were asked for, choose free ones; says so, or is empty.

    Only the demo does so: to a real service its subscribers must find the way.
    """
    if options["publish"] is not None or options["replay"] is not None:
        return ""
    if not any(map(_is_taken, (PUBLISH_ADDRESS, REPLAY_ADDRESS))):
        return ""
    options["publish"] = options["replay"] = FREE
    return f"{PUBLISH_ADDRESS} is taken (is swinstream running?): the demo publishes on free ports instead"


def _is_taken(address: str) -> bool:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError:
        return True
    return False


def picture(service: Service, header: str, audience: Audience) -> RenderableType:
    """The demo's screen: what the actor does, what the recognizer says, and how often it was right."""
    doing = audience.now()
    seen = recognized(service)
    versus = Table.grid(padding=(0, 2))
    versus.add_row("the actor does", Text(doing if doing != NONE_LABEL else "nothing", "bold cyan"))
    style = "bold green" if doing in seen or (doing == NONE_LABEL and not seen) else "bold yellow"
    versus.add_row("recognized", Text(", ".join(seen) or "nothing", style))
    versus.add_row("so far", str(audience.score()))
    events = [Text.assemble(mark, " ", event_text(event)) for event, mark in audience.recent]
    return Group(camera_table(service.cameras, header), versus, Text("\npublished events", "bold"), *events)


def recognized(service: Service) -> list[str]:
    """The labels of all open events."""
    zones = [zone for camera in service.cameras.values() for zone in camera.zones.values()]
    return [event.label for zone in zones for event in zone.machine.open_events]
