"""Session: cameras that show films, the real service that watches them, and a real subscriber, each apart.

    with Session(films, model=None) as session:
        session.warm_up(10.0)
        recording = session.record(60.0)

Four kinds of processes: the film server, the core and its capture workers, and this one, which subscribes. CPU and
memory of the service are asked of the kernel from here; what only the service can know comes from its Probe. This
process sleeps most of the time, and neither its cost nor the film server's is counted as the service's.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

import psutil

from stream.bench.footage import Film
from stream.bench.processes import ProcessTree
from stream.demo.film import FilmCamera
from stream.demo.server_process import DemoCameraError, ServerProcess
from stream.events import Phase
from stream.subscribe import EventMessage, StatusMessage, messages

START_S = 120.0  # Python, OpenVINO and the parity check on a busy machine
CONNECT_S = 60.0
STOP_S = 60.0
SLACK_S = CONNECT_S + 60.0
"""A film must be so much longer than what is measured of it: connecting, warm-up, and some."""
DRAIN_S = 3.0
_LINE_S = 20.0  # a core that says nothing for so long is stuck


class SessionError(RuntimeError):
    """The measurement could not be made."""


class Heard(NamedTuple):
    """The start of an event, as the subscriber got it."""

    camera: str
    label: str
    utc_ns: int


@dataclass
class Listener:
    """The subscriber's memory."""

    starts: list[Heard] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    fps: dict[str, float] = field(default_factory=dict)

    def listen(self, events: str, replay: str, stop: threading.Event) -> None:
        for message in messages(events, replay=replay, since="first", stop=stop):
            if isinstance(message, EventMessage):
                self.events[message.phase.value] += 1
                if message.phase is Phase.START:
                    self.starts.append(Heard(message.camera, message.label, time.time_ns()))
            elif isinstance(message, StatusMessage) and message.state not in {"live", "connecting"}:
                self.troubles.append(f"{message.camera} {message.state}: {message.message or ''}")


@dataclass(frozen=True)
class Recording:
    """What was measured.

    lines: the probe's, the first from when it began (its latencies are of before), the last from when it ended.
    cpu_s: used in between, by role (`capture worker`, `core`, `film server`). rss: bytes a second, of the service.
    begun_utc_ns: by camera, when its film began to play. busy_share: of the whole machine's CPU, by anybody.
    """

    lines: list[dict[str, Any]]
    cpu_s: Mapping[str, float]
    rss: list[int]
    begun_utc_ns: Mapping[str, int]
    starts: list[Heard]
    events: Mapping[str, int]
    troubles: list[str]
    from_utc_ns: int
    to_utc_ns: int
    busy_share: float

    @property
    def seconds(self) -> float:
        return float(self.lines[-1]["time_s"] - self.lines[0]["time_s"])


class Session:
    """A context manager. films: one a camera, named camera-0 and so on. idle_gating: False has every window computed.

    others: more cameras, addresses by name, which are not waited for.

    Raises SessionError, DemoCameraError.
    """

    def __init__(
        self,
        films: Sequence[Film],
        *,
        model: str | None = None,
        idle_gating: bool = False,
        others: Mapping[str, str] | None = None,
    ) -> None:
        self._films = FilmCamera([film.path for film in films])
        self.names = [f"camera-{n}" for n in range(len(films))]
        self._others = dict(others or {})
        self._settings = {"model": model, "idle_gating": idle_gating}
        self._stop = threading.Event()
        self._stack = ExitStack()
        self._listener = Listener()
        self.engines: list[str] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="swinstream-bench-"))
            stack.enter_context(self._films)
            cameras = {name: self._films.url(n) for n, name in enumerate(self.names)} | self._others
            self._core = ServerProcess(
                "stream.bench.core",
                {**self._settings, "cameras": cameras, "folder": folder},
                what="the measured service",
                start_s=START_S,
                stop_s=STOP_S,
            )
            greeting = self._core.start()
            stack.callback(self._core.stop)
            assert self._core.process is not None
            self.engines = greeting["engines"]
            self._tree = ProcessTree(self._core.process.pid)
            thread = threading.Thread(
                target=self._listener.listen, args=(greeting["events"], greeting["replay"], self._stop), daemon=True
            )
            thread.start()
            stack.callback(thread.join)
            stack.callback(self._stop.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def warm_up(self, seconds: float, on_cameras: Callable[[int], None] = lambda live: None) -> None:
        """Wait until every film is being watched, a minute at most, then so long.

        on_cameras: told how many are.
        """
        deadline_s = time.monotonic() + CONNECT_S
        live = 0
        while live < len(self.names) and time.monotonic() < deadline_s:
            cameras = self._line()["cameras"]
            live = sum(cameras[name]["state"] in {"live", "degraded"} for name in self.names)
            on_cameras(live)
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self._line()

    def record(
        self, seconds: float, on_second: Callable[[], None] = lambda: None, *, drain_s: float = DRAIN_S
    ) -> Recording:
        """Measure for so long, then listen for events of actions that have begun by then."""
        for _ in self._core.said():  # of the time before
            pass
        lines = [self._line()]
        cpu, rss = self._cpu_s(), [self._tree.sample()]
        troubles, told = len(self._listener.troubles), Counter(self._listener.events)
        psutil.cpu_percent()
        from_utc_ns = time.time_ns()
        while lines[-1]["time_s"] - lines[0]["time_s"] < seconds - 0.01:
            lines.append(self._line())
            rss.append(self._tree.sample())
            on_second()
        after, to_utc_ns, busy = self._cpu_s(), time.time_ns(), psutil.cpu_percent() / 100
        begun = self._films.begun()
        while time.time_ns() < to_utc_ns + drain_s * 1e9:
            self._line()
        return Recording(
            lines=lines,
            cpu_s={role: after[role] - cpu[role] for role in after},
            rss=rss,
            begun_utc_ns={self.names[n]: utc_ns for n, utc_ns in begun.items()},
            starts=list(self._listener.starts),
            events=dict(self._listener.events - told),
            troubles=self._listener.troubles[troubles:],
            from_utc_ns=from_utc_ns,
            to_utc_ns=to_utc_ns,
            busy_share=round(busy, 3),
        )

    def _line(self) -> dict[str, Any]:
        try:
            line = self._core.hear(_LINE_S)
        except DemoCameraError as error:
            raise SessionError(str(error)) from None
        if line is None:
            raise SessionError(f"the measured service has said nothing for {_LINE_S:.0f} s")
        return line

    def _cpu_s(self) -> dict[str, float]:
        self._tree.sample()
        server = self._films.process
        times = psutil.Process(server.pid).cpu_times() if server is not None else None
        return {**self._tree.cpu_s(), "film server": times.user + times.system if times else 0.0}
