"""What a camera can do wrong, each by a camera of its own in one run of the real service: the status names it, the
open event ends with the right reason, the camera comes back by itself, and the others do not notice."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.bundle import Bundle
from stream.events import Phase
from stream.wire import utc_ns
from tests.faults.follower import Follower
from tests.faults.invariants import broken, journal_events, undelivered
from tests.faults.server import FaultServer
from tests.program import Ended, Program

PASSWORD = "hunter2-in-a-uri"
TIMEOUT_S = 2

Act = Callable[[FaultServer, str], None]


def set_(**faults: object) -> Act:
    return lambda server, camera: server.set(camera, **faults)


def nothing(server: FaultServer, camera: str) -> None:
    pass


class Trouble(NamedTuple):
    """A camera that cannot be reached at first."""

    faults: dict[str, object]
    error: str


TROUBLES = {
    "refused": Trouble({"refuse": "connection"}, "refused"),
    "busy": Trouble({"refuse": "503"}, "refused"),
    "unknown": Trouble({"refuse": "404"}, "not_found"),
    "silent": Trouble({"hang": "connect"}, "timeout"),
    "hangs-after-describe": Trouble({"hang": "DESCRIBE"}, "timeout"),
    "hangs-after-setup": Trouble({"hang": "SETUP"}, "timeout"),
    "hangs-after-play": Trouble({"hang": "PLAY"}, "timeout"),
    "locked": Trouble({"password": "another"}, "auth"),
}


class Mishap(NamedTuple):
    """A camera that is well, until something happens to it. error: it is lost with it; None: it is not lost.

    reasons: what the open event may end with.
    """

    happens: Act
    ends: Act
    error: str | None
    reasons: set[str]


MISHAPS = {
    "cut": Mishap(lambda s, c: s.cut(c), nothing, "eof", {"camera_lost"}),
    "reset": Mishap(lambda s, c: s.drop(c), nothing, "eof", {"camera_lost"}),
    "mute": Mishap(set_(mute=True), set_(mute=False), "timeout", {"camera_lost"}),
    "frozen": Mishap(set_(frozen=True), set_(frozen=False), "timeout", {"camera_lost"}),
    "dies": Mishap(lambda s, c: s.kill(), lambda s, c: s.start(), "eof", {"camera_lost"}),
    "resized": Mishap(set_(film=1), set_(film=0), None, {"reconfigured"}),
    "stalled": Mishap(set_(held=True), set_(held=False), None, {"score", "gap"}),
    "jumps-forward": Mishap(lambda s, c: s.jump(c, 60), nothing, None, {"score", "gap"}),
    "jumps-back": Mishap(lambda s, c: s.jump(c, -60), nothing, None, {"score", "gap"}),
    "clock-set-back": Mishap(set_(clock_offset_s=-3600), nothing, None, {"score"}),
    "floods": Mishap(set_(fps=300), set_(fps=None), None, {"score"}),
    "noisy": Mishap(set_(garbage=0.3), set_(garbage=0), None, {"score", "gap", "reconfigured"}),
}


@dataclass
class Run:
    """What came of it all."""

    ended: Ended
    follower: Follower
    journal: Path
    open_then: dict[str, str]  # ids by camera: events that were open when the mishaps happened


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, motion_bundle: Bundle, films: list[Path]) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("faults")
    steady = ["well", "digest", "wraps"]
    names = [*steady, *TROUBLES, *(name for name in MISHAPS if name != "dies")]
    journal, config = folder / "events.sqlite3", folder / "config.yaml"
    with (
        FaultServer(films, names) as cameras,
        FaultServer(films, ["dies"]) as mortal,
        contextlib.closing(Program(folder)) as program,
    ):

        def configure(password_of_locked: str) -> None:
            given = dict.fromkeys([*names, "dies"], PASSWORD) | {"locked": password_of_locked}
            servers = dict.fromkeys(names, cameras) | {"dies": mortal}
            lines = [
                f"  - {{name: {name}, uri: '{server.url(name, f'admin:{given[name]}')}', timeout_s: {TIMEOUT_S}}}\n"
                for name, server in servers.items()
            ]
            config.write_text(
                f"model: {motion_bundle.path}\n"
                "publish: {address: 'tcp://127.0.0.1:0'}\nreplay: {address: 'tcp://127.0.0.1:0'}\n"
                f"journal: {{path: {journal}}}\ncameras:\n{''.join(lines)}"
            )

        cameras.set("digest", password=PASSWORD)
        cameras.set("wraps", wrap_s=5)
        for name, trouble in TROUBLES.items():
            cameras.set(name, **trouble.faults)
        configure(PASSWORD)
        running = program.start("run", config, "--json")
        words = json.loads(running.until('"publishing'))["message"].split()
        addresses = dict(word.split("=", 1) for word in words[1:])
        with Follower(addresses["events"], addresses["replay"]) as follower:

            def state(name: str) -> tuple[str, str | None]:
                status = follower.latest().get(name)
                return ("", None) if status is None else (status.state, status.error)

            def has(name: str, error: str) -> bool:
                return any(s.state == "lost" and s.error == error for _, s in follower.since(name, 0))

            def open_events() -> dict[str, str]:
                found = {}
                for event in follower.events:
                    if event.phase is Phase.START:
                        found[event.camera] = event.id
                    elif event.phase is Phase.END:
                        found.pop(event.camera, None)
                return found

            def all_live(names: list[str], since: int) -> bool:
                started = {e.camera for e in follower.events[since:] if e.phase is Phase.START}
                return all(state(name)[0] == "live" and name in started for name in names)

            follower.until(
                lambda: all(has(name, trouble.error) for name, trouble in TROUBLES.items()), 20, "all troubles told"
            )
            follower.until(lambda: open_events().keys() >= {*MISHAPS, *steady}, 20, "an event open everywhere")
            open_then = open_events()
            for name, mishap in MISHAPS.items():
                mishap.happens(mortal if name == "dies" else cameras, name)
            for name in TROUBLES:
                cameras.set(name, refuse="", hang="")
            configure("another")
            running.signal(signal.SIGHUP)
            with contextlib.suppress(AssertionError):  # less than the time after which a camera is lost
                follower.until(lambda: False, 1.2)
            MISHAPS["stalled"].ends(cameras, "stalled")
            follower.until(
                lambda: all(m.error is None or has(name, m.error) for name, m in MISHAPS.items()),
                15,
                "all mishaps told",
            )
            since = len(follower.events)
            for name, mishap in MISHAPS.items():
                mishap.ends(mortal if name == "dies" else cameras, name)
            follower.until(lambda: all_live([*names, "dies"], since), 30, "every camera back, with an event")
            running.signal(signal.SIGTERM)
            ended = running.wait()
            # What was sent last; the journal has it.
            follower.until(lambda: len(follower.events) >= len(journal_events(journal)), 5, "the last events")
        yield Run(ended, follower, journal, open_then)


def test_every_camera_comes_back_and_every_event_ends(run: Run) -> None:
    assert run.ended.code == 0, run.ended.err
    events = journal_events(run.journal)
    assert broken(events) == []
    assert undelivered(events, run.follower.events) == []
    assert run.follower.gaps == []


@pytest.mark.parametrize("name", MISHAPS)
def test_what_an_open_event_ends_with(run: Run, name: str) -> None:
    (end,) = (e for e in run.follower.events if e.id == run.open_then[name] and e.phase is Phase.END)
    assert end.reason in MISHAPS[name].reasons


@pytest.mark.parametrize("name", [name for name, mishap in MISHAPS.items() if mishap.error is None])
def test_it_is_not_lost(run: Run, name: str) -> None:
    assert {status.state for _, status in run.follower.since(name, 0)} <= {"connecting", "live", "degraded"}


@pytest.mark.parametrize("name", ["well", "digest", "wraps"])
def test_others_do_not_notice(run: Run, name: str) -> None:
    states = [status.state for _, status in run.follower.since(name, 0)]
    assert states[:1] == ["connecting"]
    assert set(states[1:]) == {"live"}
    reasons = [e.reason for e in run.follower.events if e.camera == name and e.phase is Phase.END]
    assert set(reasons[:-1]) <= {"score"}
    assert reasons[-1] in {"score", "shutdown"}


def test_a_camera_whose_clock_is_set(run: Run) -> None:
    """Times of its open events go on (see `broken`); those after are of its new clock."""
    starts = [e for e in run.follower.events if e.camera == "clock-set-back" and e.phase is Phase.START]
    assert all(event.clock == "rtcp" for event in starts[1:])
    assert utc_ns(starts[-1].start) < utc_ns(starts[0].start) - 3000 * 10**9


def test_nothing_shows_a_password_or_a_traceback(run: Run) -> None:
    said = run.ended.text + "".join(s.status.json_text() for told in run.follower.statuses.values() for s in told)
    assert "Traceback" not in said
    assert PASSWORD.encode() not in said.encode() + run.journal.read_bytes()
