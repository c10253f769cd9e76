"""ServerProcess: a server's process, seen from the one that starts it. The other side is stream/demo/rtsp.py."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import stream

_START_S = 20.0
_STOP_S = 5.0


class DemoCameraError(RuntimeError):
    """The demo camera does not start."""


class ServerProcess:
    """Runs `python -m MODULE SETTINGS`, which ends when this process does, however it does: its input then closes.

    what: names it in an error. start_s, stop_s: how long its greeting and its end may take.
    """

    def __init__(
        self,
        module: str,
        settings: Mapping[str, Any],
        *,
        what: str = "the demo camera",
        start_s: float = _START_S,
        stop_s: float = _STOP_S,
    ) -> None:
        self._command = [sys.executable, "-m", module, json.dumps(dict(settings))]
        self._what, self._start_s, self._stop_s = what, start_s, stop_s
        self._lines: queue.Queue[str] = queue.Queue()  # "": its output is closed
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> dict[str, Any]:
        """Returns its greeting. Raises DemoCameraError."""
        root = str(Path(next(iter(stream.__path__))).parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for the parent, which then closes the pipe
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True, name="demo-lines").start()
        try:
            return self._greeting(self.process)
        except BaseException:
            self.stop()
            raise

    def said(self) -> list[dict[str, Any]]:
        """What it has written since the greeting and the last call."""
        lines = []
        while not self._lines.empty():
            if line := self._lines.get():
                lines.append(json.loads(line))
        return lines

    def hear(self, timeout_s: float) -> dict[str, Any] | None:
        """The next thing it has written; None: nothing within the time. Raises DemoCameraError where it has ended."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if not line:
            self._lines.put(line)
            assert self.process is not None
            raise DemoCameraError(f"{self._what} ended (exit code {self.process.wait()})")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise DemoCameraError(f"{self._what}: {said['error']}")
        return said

    def stop(self) -> None:
        """End it; may be called again."""
        process, self.process = self.process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put("")

    def _greeting(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=self._start_s)
        except queue.Empty:
            raise DemoCameraError(f"{self._what} said nothing for {self._start_s:.0f} s") from None
        if not line:
            raise DemoCameraError(f"{self._what} ended at once (exit code {process.wait()})")
        greeting: dict[str, Any] = json.loads(line)
        if "error" in greeting:
            raise DemoCameraError(f"{self._what} does not start: {greeting['error']}")
        return greeting
