"""Program: the command line as users run it, in a process of its own, and what must hold however it ends."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

MARK = "SWINSTREAM_TEST_MARK"
PATIENCE_S = 60.0  # a busy machine starts Python in seconds


@dataclass
class Ended:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def events(self) -> list[dict[str, Any]]:
        """Of --json."""
        return [json.loads(line) for line in self.out.splitlines()]


class Running:
    """A process that runs, a session of its own as in a terminal of its own.

    out_lines: after so many lines nobody reads its standard output any more, as `| head` does.
    """

    def __init__(self, command: Sequence[str], env: dict[str, str], cwd: Path, out_lines: int | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._texts: dict[str, list[str]] = {"out": [], "err": []}
        self._readers = [
            threading.Thread(target=self._read, args=("out", self.process.stdout, out_lines), daemon=True),
            threading.Thread(target=self._read, args=("err", self.process.stderr), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: Any, limit: int | None = None) -> None:
        for line in itertools.islice(stream, limit):
            self._texts[name].append(line)
            self._lines.put(line)
        stream.close()
        self._lines.put(None)

    def until(self, text: str, timeout_s: float = PATIENCE_S) -> str:
        """The first line, of either output, that holds the text and has not been looked at yet."""
        deadline_s, open_streams = time.monotonic() + timeout_s, 2
        while open_streams:
            try:
                line = self._lines.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                break
            if line is None:
                open_streams -= 1
            elif text in line:
                return line
        raise AssertionError(f"no line with {text!r}; it said:\n{''.join(self._texts['out'] + self._texts['err'])}")

    def signal(self, number: signal.Signals, group: bool = False) -> None:
        """group: to all its processes, as Ctrl-C in a terminal does."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.process.pid, number)
            else:
                os.kill(self.process.pid, number)

    def wait(self, timeout_s: float = PATIENCE_S) -> Ended:
        code = self.process.wait(timeout_s)
        for reader in self._readers:
            reader.join(10.0)
        return Ended(code, "".join(self._texts["out"]), "".join(self._texts["err"]))


class Program:
    """Starts `swinstream`. Every process that comes of it bears a mark, by which what is left behind is found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = str(uuid.uuid4())
        self._running: list[Running] = []

    def start(self, *args: str | Path, env: dict[str, str] | None = None, out_lines: int | None = None) -> Running:
        running = Running(command_of(*args), self.environment(env), self.folder, out_lines)
        self._running.append(running)
        return running

    def run(self, *args: str | Path, env: dict[str, str] | None = None, timeout_s: float = PATIENCE_S) -> Ended:
        return self.start(*args, env=env).wait(timeout_s)

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        """With an empty home, so that nobody's journal is touched."""
        home = {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state")}
        plain = {"NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb", "PYTHONPATH": str(Path(__file__).parents[1])}
        environment = {**os.environ, **home, **plain, MARK: self._mark, **(more or {})}
        environment.pop("PYTHONUNBUFFERED", None)  # users have buffers
        return environment

    def left_behind(self) -> list[psutil.Process]:
        """Processes with our mark that still live."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self._mark:
                    found.append(process)
        return found

    def close(self) -> None:
        """Fails if a process outlives the ones that were started; kills it."""
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
                running.wait()
        _, left = psutil.wait_procs(self.left_behind(), timeout=10.0)
        for process in left:
            process.kill()
        assert not left, f"left behind: {left}"


def command_of(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "swinstream", *map(str, args)]


def free_sockets() -> list[str]:
    return ["--publish", "tcp://127.0.0.1:0", "--replay", "tcp://127.0.0.1:0"]


def unended(journal: Path) -> set[str]:
    """Ids of events in a journal that started and did not end."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        events = [json.loads(text) for (text,) in db.execute("SELECT message FROM events ORDER BY n, seq")]
    started = {event["id"] for event in events if event["phase"] == "start"}
    return started - {event["id"] for event in events if event["phase"] == "end"}
