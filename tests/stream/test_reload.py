"""Reload: a running program takes up an edited configuration, or refuses it and goes on as before."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.bundle import Bundle
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
