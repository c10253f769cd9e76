"""One run in which all goes wrong that can, and every output of it: none of them shows a secret.

Secrets: passwords in an address, in the configuration, in a file, from the environment and in a query, right and wrong
ones; a CURVE secret key.
"""

from __future__ import annotations

import contextlib
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.bundle import Bundle
from stream.events import Phase
from stream.security import ClientCurve, load_key_pair, load_public_key, make_keys
from tests.faults.follower import Follower
from tests.faults.server import FaultServer
from tests.program import Program

SECRETS = {name: f"{name}-hunter2-{n}%2F" for n, name in enumerate(["address", "given", "file", "variable", "query"])}
WRONG = "wrong-hunter2-9"
PLAIN = "hunter2-"
"""In all of them, however they are written."""


class Outputs:
    """Everything that was put out, by where. `key` is the CURVE secret key."""

    def __init__(self, key: str) -> None:
        self.texts: dict[str, bytes] = {}
        self._key = key.encode()

    def add(self, where: str, text: str | bytes) -> None:
        self.texts[where] = self.texts.get(where, b"") + (text.encode() if isinstance(text, str) else text)

    def with_secrets(self) -> dict[str, bytes]:
        return {where: text for where, text in self.texts.items() if PLAIN.encode() in text or self._key in text}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, motion_bundle: Bundle, films: list[Path]) -> Iterator[Outputs]:
    folder = tmp_path_factory.mktemp("secrets")
    with (
        FaultServer(films, [*SECRETS, "locked", "gone", "silent", "well"]) as cameras,
        contextlib.closing(Program(folder)) as program,
    ):
        for name in ("address", "given", "file", "variable"):
            cameras.set(name, password=SECRETS[name].replace("%2F", "/"))
        cameras.set("locked", password="another")
        cameras.set("gone", refuse="connection")
        cameras.set("silent", hang="connect")
        for name in ("server", "client"):
            make_keys(folder / "keys", name)
        key = load_key_pair(folder / "keys" / "server.key_secret")
        said = Outputs(key.secret.decode())
        env = {"CAMERA_PASSWORD": SECRETS["variable"].replace("%2F", "/")}
        (folder / "password").write_text(SECRETS["file"].replace("%2F", "/") + "\n")
        config = folder / "config.yaml"
        journal: list[str | Path] = ["--journal", folder / "events.sqlite3"]

        def query(name: str) -> str:
            return f"{cameras.url(name)}?user=admin&password={SECRETS['query']}"

        def write(more: str = "", key: str = "keys/server.key_secret") -> None:
            config.write_text(f"""
model: {motion_bundle.path}
publish: {{address: 'tcp://127.0.0.1:0'}}
replay: {{address: 'tcp://127.0.0.1:0'}}
metrics: {{address: '127.0.0.1:0'}}
journal: {{path: events.sqlite3}}
security: {{server_key: {key}, clients: [keys/client.key]}}
cameras:
  - {{name: address, uri: '{cameras.url("address", "admin:" + SECRETS["address"])}'}}
  - {{name: given, uri: '{cameras.url("given")}', user: admin, password: '{SECRETS["given"].replace("%2F", "/")}'}}
  - {{name: file, uri: '{cameras.url("file")}', user: admin, password_file: password}}
  - {{name: variable, uri: '{cameras.url("variable", "admin:${CAMERA_PASSWORD}")}'}}
  - {{name: query, uri: '{query("query")}'}}
  - {{name: locked, uri: '{cameras.url("locked", "admin:" + WRONG)}'}}
  - {{name: gone, uri: '{cameras.url("gone", "admin:" + WRONG)}'}}
  - {{name: silent, uri: '{cameras.url("silent", "admin:" + WRONG)}', timeout_s: 1}}
  - {{name: nowhere, uri: 'rtsp://admin:{WRONG}@no-such-host..invalid/x?token={WRONG}'}}
  - {{name: no-file, uri: '/films/password={WRONG}/x.mp4'}}
{more}""")

        write()
        running = program.start("run", config, "--json", env=env)
        monitor = json.loads(running.until("metrics and health"))["message"].split("address=")[1]
        words = json.loads(running.until('"publishing'))["message"].split()
        addresses = dict(word.split("=", 1) for word in words[1:])
        curve = ClientCurve(
            load_key_pair(folder / "keys" / "client.key_secret"), load_public_key(folder / "keys" / "server.key")
        )
        with Follower(addresses["events"], addresses["replay"], curve) as follower:

            def is_(name: str, *states: str) -> bool:
                return any(s.state in states for _, s in follower.since(name, 0))

            follower.until(
                lambda: (
                    all(is_(name, "live") for name in SECRETS)
                    and all(is_(name, "lost", "failed") for name in ("locked", "gone", "silent", "nowhere", "no-file"))
                    and {e.camera for e in follower.events if e.phase is Phase.START} >= set(SECRETS)
                ),
                30,
                "all live or lost",
            )
            for process in [psutil.Process(running.process.pid), *psutil.Process(running.process.pid).children()]:
                said.add("command lines", " ".join(process.cmdline()))
            cameras.cut("address")
            follower.until(lambda: is_("address", "lost"), 5)
            start = len(follower.events)
            for n, (more, other) in enumerate(_bad_edits()):
                write(more, **({"key": other} if other else {}))
                running.signal(signal.SIGHUP)
                running.until("configuration refused")
                if n == 0:  # a process of its own takes a second
                    said.add("reload", program.run("reload", config, *journal, env=env).text)
            write("  - {name: well, uri: '" + cameras.url("well", f"admin:{SECRETS['given']}") + "'}\n")
            said.add("reload", program.run("reload", config, *journal, env=env).text)
            running.until("configuration reloaded")
            follower.until(lambda: is_("well", "live") and len(follower.events) > start, 20, "the new one live")
            with urllib.request.urlopen(f"{monitor}/metrics", timeout=5) as answer:
                said.add("metrics", answer.read())
            said.add("health", _health(f"{monitor}/healthz") + _health(f"{monitor}/readyz"))
            said.add("statuses", "".join(s.json_text() for told in follower.statuses.values() for _, s in told))
            said.add("events", "".join(e.json_text() for e in follower.events))
        running.signal(signal.SIGTERM)
        others = [
            program.start("export", folder / "events.csv", *journal),
            program.start("run", "--camera", f"a=rtsp:/admin:{WRONG}@h/x", "--model", motion_bundle.path),
        ]
        said.add("run", running.wait().text)
        exported, refused = (other.wait() for other in others)
        assert (exported.code, refused.code) == (0, 2), exported.text + refused.text
        said.add("export", exported.text)
        said.add("refused at once", refused.text)
        ours = {config, folder / "password", *(folder / "keys").iterdir()}
        for path in (path for path in folder.rglob("*") if path.is_file() and path not in ours):
            said.add("files", path.read_bytes())
        yield said


def test_none_shows_a_secret(outputs: Outputs) -> None:
    assert outputs.with_secrets() == {}


def test_all_of_them_were_looked_at(outputs: Outputs) -> None:
    """Or the test above would be worth little."""
    assert {where for where, text in outputs.texts.items() if len(text) > 20} == {
        *("command lines", "reload", "metrics", "health", "statuses", "events", "run", "export", "files"),
        "refused at once",
    }
    assert b"configuration refused" in outputs.texts["run"]
    assert b"not_found" in outputs.texts["statuses"]
    assert b"Traceback" not in b"".join(outputs.texts.values())


def _health(url: str) -> bytes:
    """Also of one that is not well."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        return error.read()


def _bad_edits() -> list[tuple[str, str]]:
    """Mistakes beside a secret, or in it; the second is another server key."""
    given = SECRETS["given"]
    return [
        (f"  - {{name: x, uri: 'rtsp//admin:{given}@h/x'}}\n", ""),
        (f"  - {{name: x, uri: 'rtsp://h/x', password: [{given}]}}\n", ""),
        (f"  - {{name: x, uri: 'rtsp://admin:{given}/@h:port/x'}}\n", ""),
        (f"  - {{name: x, uri: 'rtsp://h/x', pasword: {given}}}\n", ""),
        (f"  - {{name: x, uri: 'rtsp://h/x', password: {given}, password: {given}}}\n", ""),
        (f"  - {{name: x, uri: rtsp://admin:{given}@h/x, timeout_s: soon\n", ""),
        (f"  - {{name: x, uri: 'rtsp://admin:{given}@h/x', timeout_s: soon}}\n", ""),
        ("", "password"),
    ]
