"""`swinstream demo` as a process and its parts."""

from __future__ import annotations

import json
import re
import signal
import socket

import pytest

from engine.bundle import Bundle
from stream.demo import command
from tests.program import Program, free_sockets

LINE = re.compile(r"(right|wrong) demo/full move (started|ended) \d\d:\d\d:\d\d\.\d ")


def test_it_says_of_each_event_whether_it_is_right(program: Program, motion_bundle: Bundle) -> None:
    """The bundle says `move`, which the actor never does, so all of it is wrong."""
    ended = program.run("demo", "--seconds", "8", "--model", motion_bundle.path, *free_sockets())
    assert ended.code == 0, ended.text
    lines = ended.out.splitlines()
    assert lines
    assert all(LINE.match(line) for line in lines), ended.out
    assert {LINE.match(line)[1] for line in lines} == {"wrong"}  # type: ignore[index]
    assert "Traceback" not in ended.text
    assert re.search(r"0 of \d actions? recognized|0 of \d actions recognized, \d wrong event", ended.err)
    assert "demo camera at rtsp://127.0.0.1:" in ended.err


def test_for_machines_and_ctrl_c(program: Program, motion_bundle: Bundle) -> None:
    running = program.start("demo", "--json", "--model", motion_bundle.path, *free_sockets())
    running.until('"phase":"start"')
    running.signal(signal.SIGINT, group=True)
    ended = running.wait()
    assert ended.code == 0, ended.text
    assert "Traceback" not in ended.text
    started = {event["id"] for event in ended.events if event["phase"] == "start"}
    assert started
    assert all(json.loads(line)["level"] for line in ended.err.splitlines())
    assert not list(program.folder.glob("swinstream-demo-*"))


@pytest.mark.parametrize(
    ("given", "taken", "free"),
    [({}, False, False), ({}, True, True), ({"publish": "tcp://127.0.0.1:7000"}, True, False)],
)
def test_free_ports_where_the_usual_ones_are_taken(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], taken: bool, free: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(command, "PUBLISH_ADDRESS", f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setattr(command, "REPLAY_ADDRESS", f"tcp://127.0.0.1:{other.getsockname()[1]}")
        if not taken:
            listener.close()
            other.close()
        options: dict[str, str | None] = {"publish": None, "replay": None, **given}
        notice = command.on_free_ports(options)
    assert bool(notice) is free
    assert (options["publish"] == command.FREE) is free
    if free:
        assert "is taken" in notice
