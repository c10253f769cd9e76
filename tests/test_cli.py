"""The command line: what it offers, what it refuses, and run and subscribe together."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from engine.bundle import Bundle
from tests.program import Program, command_of, free_sockets, unended
from tests.rtsp_server import RtspServer

COMMANDS = {"run", "reload", "subscribe", "export", "demo", "info", "doctor", "keys"}
COMMANDS |= {"train", "evaluate", "build", "calibrate", "bench", "capacity"}


def test_version_and_help(program: Program) -> None:
    assert program.run("--version").out == f"swinstream {version('swinstream')}\n"
    shown = program.run("--help").out
    assert all(f" {command} " in shown for command in COMMANDS)


_SHOW_HELP = """
import json, swinstream, typer
from typer.testing import CliRunner

def commands(group, *path):
    for name, command in group.commands.items():
        yield from commands(command, *path, name) if hasattr(command, "commands") else [[*path, name]]

asked = {" ".join(path): [*path, "--help"] for path in commands(typer.main.get_command(swinstream.app))}
print(json.dumps({path: CliRunner().invoke(swinstream.app, args).output for path, args in asked.items()}))
"""


def test_every_command_has_help_with_an_example() -> None:
    """Those of groups too. All in one process: starting Python takes longer."""
    done = subprocess.run([sys.executable, "-c", _SHOW_HELP], check=True, capture_output=True, text=True)
    shown: dict[str, str] = json.loads(done.stdout)
    assert {path.split()[0] for path in shown} == COMMANDS
    for command, text in shown.items():
        assert f" Usage: swinstream {command} " in text
        assert f" swinstream {command}" in text.partition("Example")[2]


@pytest.mark.parametrize(
    "args",
    [["run", "--nope"], ["run", "--engine", "magic"], ["nope"], ["demo", "--seconds", "soon"], ["info"]],
    ids=" ".join,
)
def test_wrong_usage(program: Program, args: list[str]) -> None:
    ended = program.run(*args)
    assert ended.code == 2
    assert ended.out == ""
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["run", "--camera", "a=~nosuchuser/x.mp4"], "~nosuchuser is the home folder of nobody"),
        (["run", "--camera", "a=x.mp4", "--journal", "~nosuchuser/e"], "~nosuchuser is the home folder of nobody"),
        (["run", "--camera", "a=x.mp4", "--model", "~nosuchuser"], "does not exist"),
        (["run", "--camera", "rtsp://admin:s3c#ret@h/x"], "expected NAME=URI"),
        (["run", "--camera", "a=rtsp://admin:s3c#ret@h/x"], "write special characters"),
        (["subscribe", "--since", "first", "--camera", "Front_Door"], "no camera is named 'Front_Door'"),
        (["subscribe", "--since", "x" * 70 + ":1"], "is no position"),
        (["evaluate", "x" * 300, "--data", "clips"], "cannot be read: File name too long"),
        (["run", "--camera", "a=x.mp4", "--metrics", "0.0.0.0:9464"], "is open to the network"),
        (["export", "events.xyz"], "what format is events.xyz to have"),
        (["train", "nothing.yaml"], "cannot be read"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_mistakes_are_one_clear_line(program: Program, args: list[str], told: str) -> None:
    ended = program.run(*args)
    assert ended.code == 2, ended.text
    (line,) = ended.err.splitlines()
    assert line.startswith("swinstream: ")
    assert told in line
    assert "s3c#ret" not in line


def test_run_and_subscribe(program: Program, motion_bundle: Bundle, tmp_path: Path) -> None:
    """A camera is watched; a subscriber sees every event, from the first to those that the end brings."""
    journal = tmp_path / "events.sqlite3"
    with RtspServer("camera", "--fps", "15", "--size", "160x120") as server:
        running = program.start(
            *("run", "--camera", f"door={server.url(userinfo='user:s3cr3t')}", "--model", motion_bundle.path),
            *("--journal", journal, "--json", *free_sockets()),
        )
        publishing = json.loads(running.until('"publishing'))["message"]
        addresses = dict(word.split("=") for word in publishing.split()[1:])
        running.until('"phase":"start"')
        subscriber = program.start(
            *("subscribe", addresses["events"], "--replay", addresses["replay"], "--since", "first", "--json")
        )
        subscriber.until('"phase":"update"')
        running.signal(signal.SIGTERM)
        ended = running.wait()
        subscriber.until('"reason":"shutdown"')
        subscriber.signal(signal.SIGINT)
        heard = subscriber.wait()
    assert (ended.code, heard.code) == (0, 0), ended.text + heard.text
    assert [event["seq"] for event in ended.events] == list(range(1, len(ended.events) + 1))
    assert heard.events == ended.events
    assert (ended.events[-1]["phase"], ended.events[-1]["reason"]) == ("end", "shutdown")
    assert unended(journal) == set()
    assert "s3cr3t" not in ended.text
    assert b"s3cr3t" not in journal.read_bytes()
    assert all(json.loads(line) for line in ended.err.splitlines())


def test_a_file_as_lines_for_people(program: Program, motion_bundle: Bundle, walking: Path) -> None:
    ended = program.run("run", "--camera", f"film={walking}", "--model", motion_bundle.path, *free_sockets())
    assert ended.code == 0, ended.text
    started, over = ended.out.splitlines()
    assert started.startswith("film/full move started ")
    assert over.startswith("film/full move ended ")
    assert over.endswith(", eof)")
    logged = [line.split()[1:3] for line in ended.err.splitlines()]
    assert ["info", "stream.serve"] in logged
    assert (program.folder / "state/swinstream/events.sqlite3").exists()
    exported = program.run("export", "events.csv")
    assert exported.code == 0, exported.text
    assert (program.folder / "events.csv").read_text().count("film,full,move") >= 2
    assert program.run("export", "events.csv", "--journal", "nowhere.sqlite3").code == 1


def test_a_live_table_in_a_terminal(program: Program, motion_bundle: Bundle) -> None:
    """Rows for cameras, events below, logs above; Ctrl-C ends it."""
    ours, theirs = pty.openpty()
    command = ["run", "--camera", "stage=demo://", "--camera", "gone=rtsp://u:s3cr3t@127.0.0.1:1/x"]
    process = subprocess.Popen(
        command_of(*command, "--model", motion_bundle.path, *free_sockets()),
        env=program.environment({"TERM": "xterm", "COLUMNS": "150", "LINES": "40"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, interrupted, deadline_s = "", False, time.monotonic() + 60
    while time.monotonic() < deadline_s:
        try:
            shown += os.read(ours, 65536).decode(errors="replace")
        except OSError:  # the other end is closed
            break
        if not interrupted and " started " in shown and "lost refused" in shown:
            process.send_signal(signal.SIGINT)
            interrupted = True
    os.close(ours)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert process.wait(30) == 0, shown
    for words in ("Ctrl-C ends", "sees now", "live", "stage/full move started", "stage/full move ended"):
        assert words in shown
    assert "camera lost camera=gone error=refused" in shown
    assert "Traceback" not in shown
    assert "s3cr3t" not in shown


def test_a_reader_that_goes_away(program: Program, motion_bundle: Bundle, tmp_path: Path) -> None:
    """As `swinstream run ... | head -1` does."""
    journal = tmp_path / "events.sqlite3"
    with RtspServer("camera", "--fps", "15", "--size", "160x120") as server:
        ended = program.start(
            *("run", "--camera", f"film={server.url()}", "--model", motion_bundle.path, "--json"),
            *("--journal", journal, *free_sockets()),
            out_lines=1,
        ).wait()
    assert ended.code == 1, ended.text
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
    assert unended(journal) == set()


def test_keys_and_an_encrypted_publisher(program: Program, tmp_path: Path) -> None:
    assert program.run("keys", tmp_path / "keys", "--name", "server").code == 0
    again = program.run("keys", tmp_path / "keys", "--name", "server")
    assert again.code == 2
    assert "exists already" in again.err
    alone = program.run("subscribe", "--key", tmp_path / "keys/server.key_secret")
    assert alone.code == 2
    assert "belong together" in alone.err
