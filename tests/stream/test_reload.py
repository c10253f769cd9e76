"""Reload: a running program takes up an edited configuration, or refuses it and goes on as before."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from engine.bundle import Bundle
from stream import plan
from stream.config import Config
from stream.messages import CameraFinished
from stream.plan import make_plan
from stream.recognition import Recognition
from stream.reload import Reloader
from stream.roster import Roster
from tests.formula_bundle import make_formula_bundle
from tests.program import Program, Running, free_sockets
from tests.rtsp_server import RtspServer


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    with RtspServer("camera", "--fps", "15", "--size", "160x120") as made:
        yield made


class Edited:
    """A configuration file that is written again and again, and the program that runs it."""

    def __init__(self, program: Program, bundle: Bundle, path: Path) -> None:
        self.program, self.path = program, path
        self._model = bundle.path

    def write(self, **parts: Any) -> None:
        # Movement that pauses on a busy machine ends no event.
        rules = {"merge_gap_s": 3600, **parts.pop("rules", {})}
        config = {"model": str(self._model), "events": {"defaults": rules}, **parts}
        self.path.write_text(json.dumps(config), encoding="utf-8")

    def start(self) -> Running:
        return self.program.start(
            "run", self.path, "--json", *free_sockets(), "--journal", self.path.with_suffix(".db")
        )

    def reload(self, running: Running) -> str:
        """By signal; the line that tells what came of it."""
        running.signal(signal.SIGHUP)
        return running.until("configuration ")


@pytest.fixture
def edited(program: Program, motion_bundle: Bundle, tmp_path: Path) -> Edited:
    return Edited(program, motion_bundle, tmp_path / "cameras.yaml")


def cameras(server: RtspServer, *names: str, latency_ms: int = 200) -> list[dict[str, Any]]:
    return [{"name": name, "uri": server.url(), "latency_ms": latency_ms} for name in names]


def test_rules_change_in_place_and_cameras_come_change_and_go(edited: Edited, server: RtspServer) -> None:
    edited.write(cameras=cameras(server, "a"))
    running = edited.start()
    running.until('"phase":"start"')

    # Rules only, and one camera more: the open event of `a` stays open.
    edited.write(cameras=cameras(server, "a", "b"), rules={"enter": 0.7}, idle_gating=False)
    told = edited.program.run("reload", edited.path, "--journal", edited.path.with_suffix(".db"))
    assert told.code == 0, told.text
    assert f"process {running.process.pid} was told" in told.err
    line = running.until("configuration ")
    assert "rules=a" in line
    assert "added=b" in line
    running.until('"camera":"b"')

    # Another address for `a`, and `b` is gone.
    edited.write(cameras=cameras(server, "a", latency_ms=100), rules={"enter": 0.7}, idle_gating=False)
    line = edited.reload(running)
    assert "restarted=a" in line
    assert "removed=b" in line
    running.until('"phase":"start"')  # of the camera that began anew
    running.signal(signal.SIGTERM)
    ended = running.wait()
    assert ended.code == 0
    rows = [(e["camera"], e["phase"], e["reason"]) for e in ended.events if e["phase"] != "update"]
    assert [row for row in rows if row[0] == "a"] == [
        ("a", "start", None),
        ("a", "end", "reconfigured"),
        ("a", "start", None),
        ("a", "end", "shutdown"),
    ]
    assert [row for row in rows if row[0] == "b"] == [("b", "start", None), ("b", "end", "removed")]


def test_a_bad_edit_is_refused_and_changes_nothing(edited: Edited, server: RtspServer) -> None:
    edited.write(cameras=cameras(server, "a"))
    running = edited.start()
    running.until('"phase":"start"')

    edited.write(cameras=cameras(server, "a"), rules={"enter": 7})
    told = edited.program.run("reload", edited.path, "--journal", edited.path.with_suffix(".db"))
    assert told.code == 2
    assert "events.defaults.enter" in told.err
    line = edited.reload(running)
    assert "configuration refused, nothing was changed" in line
    assert "events.defaults.enter" in line

    edited.write(cameras=cameras(server, "a"), journal={"max_age_days": 3})
    assert "journal cannot change while the program runs" in edited.reload(running)

    edited.write(cameras=[*cameras(server, "a"), {"name": "demo", "uri": "demo://"}])
    assert "a demo:// camera cannot be added" in edited.reload(running)

    edited.write(cameras=cameras(server, "a"))
    assert "nothing has changed" in edited.reload(running)
    running.signal(signal.SIGTERM)
    ended = running.wait()
    told_of = [(e["phase"], e["reason"]) for e in ended.events if e["phase"] != "update"]
    assert told_of == [("start", None), ("end", "shutdown")]


def test_nothing_runs(edited: Edited, server: RtspServer) -> None:
    edited.write(cameras=cameras(server, "a"))
    told = edited.program.run("reload", edited.path)
    assert told.code == 2
    assert "no swinstream runs with the journal" in told.err


# ---- engines


class Deaf:
    """In the place of capture and publisher: takes everything, does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class Reloaded:
    """A camera and the models that it is given: the real engines, but no capture."""

    def __init__(self, model: Bundle) -> None:
        self.config = self._config(model)
        made = make_plan(self.config)
        self.recognition = Recognition(cast(Any, Deaf()), made.engines)
        self.recognition.start()
        self.roster = Roster(cast(Any, Deaf()), self.recognition, cast(Any, Deaf()), lambda zone, changes: None)
        self.roster.begin(made.cameras)
        self._wanted = False
        self._reloader = Reloader(lambda: self.config, self._requested, self.config, made, self.recognition, {})

    def use(self, model: Bundle) -> None:
        self.config, self._wanted = self._config(model), True
        self.turn()
        while self._reloader.pending:
            self.turn()

    def turn(self) -> None:
        self._reloader.turn(cast(Any, self.roster))
        time.sleep(0.01)

    def camera_ends(self) -> None:
        camera = self.roster.cameras["cam"]
        camera.finished = CameraFinished("cam", "removed")
        self.roster.release(camera)

    def engines(self) -> set[str]:
        return set(self.recognition.engine_stats())

    def until(self, *models: Bundle) -> None:
        """Only these have an engine."""
        deadline_s = time.monotonic() + 10
        while self.engines() != {str(model.path) for model in models}:
            assert time.monotonic() < deadline_s, self.engines()
            self.turn()

    def _config(self, model: Bundle) -> Config:
        return Config.from_cameras(["cam=rtsp://127.0.0.1:9/x"]).with_options(model=str(model.path))

    def _requested(self) -> bool:
        wanted, self._wanted = self._wanted, False
        return wanted


@pytest.fixture
def reloaded(motion_bundle: Bundle) -> Iterator[Reloaded]:
    made = Reloaded(motion_bundle)
    yield made
    made.recognition.stop()


def test_an_engine_lasts_as_long_as_a_camera_that_uses_it(
    reloaded: Reloaded, motion_bundle: Bundle, tmp_path: Path
) -> None:
    other = make_formula_bundle(tmp_path / "other")
    first = reloaded.recognition._runners[str(motion_bundle.path)]
    reloaded.use(other)
    assert reloaded.engines() == {str(motion_bundle.path), str(other.path)}  # the camera has not ended yet

    reloaded.use(motion_bundle)  # another mind: the engine that holds the camera's state is not replaced
    assert reloaded.recognition._runners[str(motion_bundle.path)] is first
    reloaded.camera_ends()
    reloaded.until(motion_bundle)

    reloaded.use(other)
    reloaded.camera_ends()
    reloaded.until(other)
    reloaded.use(motion_bundle)  # one that was closed is made anew
    reloaded.camera_ends()
    reloaded.until(motion_bundle)
    assert reloaded.recognition._runners[str(motion_bundle.path)] is not first


def test_an_engine_that_cannot_be_made_is_refused(
    reloaded: Reloaded,
    motion_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the library's error is."""

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(plan, "choose_engine", fail)
    reloaded.use(make_formula_bundle(tmp_path / "other"))
    assert "configuration refused, nothing was changed" in caplog.text
    assert "MemoryError: no room" in caplog.text
    assert reloaded.engines() == {str(motion_bundle.path)}
