"""Live: films through everything that a camera's pictures go through, in real time.

The film camera serves them as H.264 over RTSP from a process of its own, `swinstream run` watches them as it would
any camera, and a subscriber hears its events over ZeroMQ. Times come out as film time: a stream's PTS begins at its
first frame (measured: 0.05 to 0.15 s after it, by what the jitter buffer makes of the first packets).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import train
from stream.demo.film import FilmCamera
from stream.demo.score import Span
from stream.events import Phase
from stream.subscribe import EventMessage, Item, StatusMessage, messages
from train.detection import EventReport
from train.films import Film
from train.online import OnlineEvent

START_S = 120.0  # Python, OpenVINO and the parity check on a busy machine
OVERTIME_S = 45.0  # a film that has not ended so long after its time never will; twice 10 s, where no end is announced
STOP_S = 30.0
DRAIN_S = 5.0
_FREE = "tcp://127.0.0.1:0"


class LiveError(RuntimeError):
    """The service did not start, or ended before its films did."""


@dataclass
class LiveReport:
    """What was heard of each film, told_ns of an event being when. broken: names of films not seen to their end.

    again: names of films that broke off and were played once more; only that time counts. skipped: windows that the
    service was too late for.
    """

    films: list[Film] = field(default_factory=list)
    events: list[tuple[OnlineEvent, ...]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    skipped: int = 0

    @property
    def report(self) -> EventReport:
        return EventReport(tuple(self.films), tuple(self.events))


class Service:
    """`swinstream run`, a process of its own. A context manager; exit ends it as Ctrl-C does. Raises LiveError."""

    def __init__(self, cameras: Sequence[str], model: Path, engine: str, folder: Path) -> None:
        root = str(Path(next(iter(train.__path__))).parent)
        command = [sys.executable, "-m", "swinstream", "run", "--json", "--model", str(model), "--engine", engine]
        command += ["--publish", _FREE, "--replay", _FREE, "--journal", str(folder / "events.sqlite3")]
        for camera in cameras:
            command += ["--camera", camera]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])},
            start_new_session=True,  # Ctrl-C is for the evaluation, which then ends the service
        )
        self.skipped = 0
        self._last = ""
        self._addresses: tuple[str, str] | None = None
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_log, daemon=True, name="service-log")

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def addresses(self) -> tuple[str, str]:
        """Where it publishes and where it replays, once it does."""
        self._ready.wait(START_S)
        if self._addresses is None:
            raise LiveError(f"swinstream run did not start: {self._last or 'it said nothing'}")
        return self._addresses

    def check(self) -> None:
        """Raises LiveError if it has ended."""
        if (code := self._process.poll()) is not None:
            raise LiveError(f"swinstream run ended with exit code {code}: {self._last or 'it said nothing'}")

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._last = line.strip()
                if found := re.search(r"publishing events=(\S+) replay=(\S+)", line):
                    self._addresses = found[1], found[2]
                    self._ready.set()
                elif found := re.search(r"windows skipped count=(\d+)", line):
                    self.skipped += int(found[1])
        self._ready.set()


@dataclass
class Listener:
    """A subscriber's memory: by camera, its events as they are now, when each was first heard, and who is gone.

    A camera that has gone is connected to again, as any would be, and shows its film from the beginning: nothing that
    begins then is remembered.
    """

    events: dict[str, dict[str, EventMessage]] = field(default_factory=dict)
    heard_utc_ns: dict[str, int] = field(default_factory=dict)
    gone_utc_ns: dict[str, int] = field(default_factory=dict)
    _back: set[str] = field(default_factory=set)

    def listen(self, events: str, replay: str, stop: threading.Event) -> None:
        for message in messages(events, replay=replay, since="first", stop=stop):
            self.hear(message, time.time_ns())

    def hear(self, message: Item, now_ns: int) -> None:
        if isinstance(message, EventMessage):
            if message.id not in self.heard_utc_ns:
                if message.camera in self._back:
                    return
                self.heard_utc_ns[message.id] = now_ns
            self.events.setdefault(message.camera, {})[message.id] = message
        elif isinstance(message, StatusMessage):
            if message.state in {"lost", "failed"}:
                self.gone_utc_ns.setdefault(message.camera, now_ns)
            elif message.state in {"live", "degraded"} and message.camera in self.gone_utc_ns:
                self._back.add(message.camera)

    def open(self) -> bool:
        """Whether some event has not ended."""
        return any(event.phase is not Phase.END for of in self.events.values() for event in of.values())


def watch_live(
    films: Sequence[Film],
    model: Path,
    *,
    engine: str = "auto",
    cameras: int = 2,
    stop: threading.Event | None = None,
    on_seconds: Callable[[float], None] = lambda seconds: None,
) -> LiveReport:
    """Play every film, `cameras` at a time, longest first, and what broke off once more. Raises LiveError,
    DemoCameraError.

    stop: may be set to end it early, with a LiveError; the processes are ended in order. on_seconds: called with the
    seconds played since the call before; in all it is `playing_s`, but for what is played again.
    """
    stop, skipped = stop or threading.Event(), 0
    shown: list[Showing] = []
    for batch in _batches(films, cameras):
        showings, late = _watch(batch, model, engine, stop, on_seconds)
        shown, skipped = shown + showings, skipped + late
    again = [showing.film for showing in shown if showing.broken]
    for batch in _batches(again, cameras):
        showings, late = _watch(batch, model, engine, stop, lambda seconds: None)
        shown, skipped = [s for s in shown if s.film not in batch] + showings, skipped + late
    return LiveReport(
        [showing.film for showing in shown],
        [showing.events for showing in shown],
        [showing.film.name for showing in shown if showing.broken],
        [film.name for film in again],
        skipped,
    )


def playing_s(films: Sequence[Film], cameras: int) -> float:
    """How long it takes to play them."""
    return sum(batch[0].seconds for batch in _batches(films, cameras))


def _batches(films: Sequence[Film], cameras: int) -> list[list[Film]]:
    ordered = sorted(films, key=lambda film: -film.seconds)
    return [ordered[i : i + cameras] for i in range(0, len(ordered), cameras)]


class Showing(NamedTuple):
    """A film played once, and what was heard of it. broken: it was not seen to its end."""

    film: Film
    events: tuple[OnlineEvent, ...]
    broken: bool


def _watch(
    films: list[Film],
    model: Path,
    engine: str,
    stop: threading.Event,
    on_seconds: Callable[[float], None],
) -> tuple[list[Showing], int]:
    """Play films side by side: what was heard of each, and how many windows were skipped."""
    listener, over = Listener(), threading.Event()
    names = [f"film-{n}" for n in range(len(films))]
    with (
        tempfile.TemporaryDirectory(prefix="swinstream-live-") as folder,
        FilmCamera([film.path for film in films]) as camera,
    ):
        addresses = [f"{name}={camera.url(n)}" for n, name in enumerate(names)]
        with Service(addresses, model, engine, Path(folder)) as service:
            thread = threading.Thread(target=listener.listen, args=(*service.addresses(), over), name="subscriber")
            thread.start()
            try:
                _play(films, camera, listener, service, stop, on_seconds)
            finally:
                over.set()
                thread.join()
        begun = camera.begun()
    showings = [
        _showing(film, name, listener, begun.get(n)) for n, (name, film) in enumerate(zip(names, films, strict=True))
    ]
    return showings, service.skipped


def _showing(film: Film, camera: str, listener: Listener, begun_ns: int | None) -> Showing:
    """begun_ns: UTC of its first frame; None: it never began."""
    if begun_ns is None:
        return Showing(film, (), broken=True)
    found = [
        OnlineEvent(Span(e.label, e.pts.start_ns, e.pts.end_ns), listener.heard_utc_ns[e.id] - begun_ns)
        for e in listener.events.get(camera, {}).values()
    ]
    seen_s = (listener.gone_utc_ns.get(camera, 0) - begun_ns) / 1e9
    return Showing(film, tuple(sorted(found, key=lambda event: event.span.start_ns)), seen_s < film.seconds - 1)


def _play(
    films: list[Film],
    camera: FilmCamera,
    listener: Listener,
    service: Service,
    stop: threading.Event,
    on_seconds: Callable[[float], None],
) -> None:
    """Wait until every camera has gone, which is how a film ends, and every event with it."""
    longest_s, told_s = films[0].seconds, 0.0
    deadline_s = time.monotonic() + START_S
    while len(listener.gone_utc_ns) < len(films) and time.monotonic() < deadline_s:
        if stop.wait(0.2):
            raise LiveError("stopped before the films were over")
        service.check()
        if begun := camera.begun():
            if told_s == 0:
                deadline_s = time.monotonic() + longest_s + OVERTIME_S
            now_s = min(longest_s, (time.time_ns() - min(begun.values())) / 1e9)
            on_seconds(now_s - told_s)
            told_s = now_s
    on_seconds(longest_s - told_s)
    deadline_s = time.monotonic() + DRAIN_S
    while listener.open() and time.monotonic() < deadline_s:
        time.sleep(0.05)
