"""World: the service that a soak runs, its cameras and its configuration, and the ways to disturb them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.follower import Follower
from tests.faults.server import FaultServer
from tests.program import Program, command_of

WELL = "well"
"""The camera to which nothing is done."""

STARTED_S = 60.0
RELOADED_S = 30.0
_DISK_MIB = 64


_ZONES = """
    zones:
      - {name: full, x: 0, y: 0, width: 1, height: 1}
      - {name: lower, x: 0, y: 0.3, width: 1, height: 0.7}"""


class Service:
    """`swinstream run`, its log and its events in files. addresses: of its sockets, by name. monitor: URL of it."""

    def __init__(self, program: Program, config: Path, folder: Path) -> None:
        self.log, self.out = folder / "log.jsonl", folder / "events.jsonl"
        with self.log.open("wb") as log, self.out.open("wb") as out:
            self.process = subprocess.Popen(
                command_of("run", config, "--json"),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=program.environment(),
                cwd=folder,
                start_new_session=True,
            )
        said = dict(word.split("=", 1) for word in self.until("publishing", 0, STARTED_S).split()[1:])
        self.addresses = {name: said[name] for name in ("events", "replay")}
        self.monitor = self.until("metrics", 0, STARTED_S).split("address=")[1]

    def lines(self, start: int = 0) -> list[str]:
        """Messages of the log from a byte on; what is no JSON as it is."""
        with self.log.open("rb") as file:
            file.seek(start)
            text = file.read().decode("utf-8", "replace")
        return [_message(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def until(self, beginning: str | tuple[str, ...], start: int, timeout_s: float) -> str:
        """The first message that begins so, after this byte of the log. Raises AssertionError."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s and self.process.poll() is None:
            for line in self.lines(start):
                if line.startswith(beginning):
                    return line
            time.sleep(0.05)
        last = " | ".join(self.lines(start)[-3:])
        raise AssertionError(f"the service did not say {beginning!r} in {timeout_s:g} s, but last of all: {last}")

    def said(self, text: str) -> bool:
        """Ever, in its log."""
        return any(text in line for line in self.lines())

    def metrics(self) -> str:
        """In Prometheus' text format. Raises OSError."""
        with urllib.request.urlopen(f"{self.monitor}/metrics", timeout=5.0) as answer:
            return str(answer.read().decode())

    def reload(self) -> str:
        """Raises AssertionError where it says nothing about it."""
        start = self.log.stat().st_size
        self.process.send_signal(signal.SIGHUP)
        return self.until(("configuration reloaded", "configuration refused"), start, RELOADED_S)


@dataclass
class World:
    """cameras: all there are; what is configured of them changes. frail: those to which something may happen."""

    folder: Path
    model: Path | str
    servers: list[FaultServer]
    password: str
    disk: Path | None = None
    workers: int = 2
    rules: dict[str, float] = field(default_factory=dict)
    _timeouts: dict[str, int] = field(default_factory=dict)
    _zones: set[str] = field(default_factory=set)
    _away: set[str] = field(default_factory=set)
    service: Service = field(init=False)
    follower: Follower = field(init=False)
    refused: int = 0
    reloaded: int = 0

    def __post_init__(self) -> None:
        for camera in self.cameras:
            self.server(camera).set(camera, password=self.password)
            self._timeouts[camera] = 2
        self.config = self.folder / "cameras.yaml"
        self.journal = (self.disk or self.folder) / "events.sqlite3"
        self._write(self._text())

    @property
    def pid(self) -> int:
        return self.service.process.pid

    @property
    def cameras(self) -> list[str]:
        return [camera for server in self.servers for camera in server.cameras]

    @property
    def frail(self) -> list[str]:
        """A server's worth of them may be gone with it, so these are what is left to chance."""
        return [camera for camera in self.cameras if camera != WELL]

    def configured(self) -> list[str]:
        return [camera for camera in self.cameras if camera not in self._away]

    def streams(self) -> int:
        """How many recognition streams there are: cameras times zones."""
        return len(self.configured()) + len(self._zones - self._away)

    def server(self, camera: str) -> FaultServer:
        return next(server for server in self.servers if camera in server.cameras)

    def revive(self, number: int) -> None:
        self.servers[number].start()
        for camera in self.servers[number].cameras:
            self.servers[number].set(camera, password=self.password)

    # ---- the configuration

    def remove(self, camera: str) -> None:
        self._away.add(camera)
        self.apply()

    def add(self, camera: str) -> None:
        self._away.discard(camera)
        self.apply()

    def add_zone(self, camera: str) -> None:
        self._zones.add(camera)
        self.apply()

    def remove_zone(self, camera: str) -> None:
        self._zones.discard(camera)
        self.apply()

    def retime(self, camera: str) -> None:
        self._timeouts[camera] = 5 - self._timeouts[camera]
        self.apply()

    def change_rules(self, chance: random.Random) -> None:
        self.rules = {"enter": round(chance.uniform(0.5, 0.7), 2), "min_duration_s": round(chance.uniform(0.2, 0.4), 1)}
        self.apply()

    def edit_badly(self, chance: random.Random) -> None:
        """It must be refused."""
        text = self._text()
        spoilt = [
            text.replace("cameras:", "cameras: ["),
            text.replace("uri: 'rtsp:", "uri: 'rtps:"),
            text.replace("timeout_s: ", "timeout: "),
            text.replace("password: ", "pasword: "),
            text.replace("@127.0.0.1:", "@127.0.0.1:x"),
            text + text,
            text[: len(text) // 2] + "\n  - {name: ",  # cut off: without the last line it may be a sound file
            "",
        ]
        self._write(chance.choice([s for s in spoilt if s != text]))
        said = self.service.reload()
        if not said.startswith("configuration refused"):
            raise AssertionError(f"a bad edit was not refused: {said}")
        self.refused += 1
        self._write(text)

    def apply(self) -> None:
        self._write(self._text())
        said = self.service.reload()
        if not said.startswith("configuration reloaded"):
            raise AssertionError(f"a good edit was refused: {said}")
        self.reloaded += 1

    def _write(self, text: str) -> None:
        new = self.config.with_suffix(".new")
        new.write_text(text)
        new.replace(self.config)

    def _text(self) -> str:
        lines = []
        for number, camera in enumerate(self.configured()):
            user = "admin" if number % 2 else f"admin:{self.password}"  # in the address, or beside it
            beside = f"\n    password: '{self.password}'" if number % 2 else ""
            lines.append(
                f"  - name: {camera}\n    uri: '{self.server(camera).url(camera, user)}'{beside}\n"
                f"    timeout_s: {self._timeouts[camera]}{_ZONES if camera in self._zones else ''}\n"
            )
        rules = ", ".join(f"{name}: {value}" for name, value in self.rules.items())
        return (
            f"model: {self.model}\ncapture: {{workers: {self.workers}}}\n"
            "publish: {address: 'tcp://127.0.0.1:0', queue: 100}\nreplay: {address: 'tcp://127.0.0.1:0'}\n"
            f"metrics: {{address: '127.0.0.1:0'}}\njournal: {{path: {self.journal}}}\n"
            f"events: {{defaults: {{{rules}}}}}\ncameras:\n{''.join(lines)}"
        )

    # ---- the disk

    def fill_disk(self) -> None:
        assert self.disk is not None
        with contextlib.suppress(OSError), (self.disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free_disk(self) -> None:
        assert self.disk is not None
        (self.disk / "filler").unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own that can be filled; None where this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def split(cameras: int) -> Sequence[list[str]]:
    """Names of a soak's cameras, by server: the last server may die."""
    names = [WELL, *(f"camera-{n}" for n in range(1, cameras))]
    mortal = max(1, cameras // 3)
    return [names[:-mortal], names[-mortal:]]


def _message(line: str) -> str:
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line.rstrip("\n")
