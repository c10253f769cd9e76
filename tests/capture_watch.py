"""CaptureWatch: a CapturePool for tests, and all that it said."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import psutil

from stream.capture import CapturePool
from stream.frame import Window
from stream.messages import CameraState, CameraStatus, CameraTask, Message, WindowReady, ZoneTask
from stream.uri import CameraUri

ZONE = ZoneTask("full", ticks=6, rate_hz=10.0, height=32, width=32, picture_ticks=(0, 2, 4))

M = TypeVar("M", bound=Message)


def camera(uri: str | Path, name: str = "cam", *zones: ZoneTask, timeout_s: float = 10.0) -> CameraTask:
    return CameraTask(name, CameraUri.parse(str(uri)), zones or (ZONE,), timeout_s=timeout_s)


class CaptureWatch:
    """Receives, and fetches every window at once unless `fetch` is False."""

    def __init__(self, workers: int | None = 1, fetch: bool = True) -> None:
        self.pool = CapturePool(workers)
        self.fetch = fetch
        self.messages: list[Message] = []
        self.windows: list[Window] = []
        self._searched = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.stop()

    def turn(self) -> list[Message]:
        select.select(self.pool.connections(), [], [], 0.05)
        heard = self.pool.receive()
        self.messages += heard
        if self.fetch:
            windows = [self.pool.window(message) for message in heard if isinstance(message, WindowReady)]
            self.windows += [window for window in windows if window is not None]
        return heard

    def until(self, kind: type[M], fits: Callable[[M], bool] = lambda _: True, timeout_s: float = 30.0) -> M:
        """The first message of this kind that fits, after the one that `until` found before."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            for message in self.messages[self._searched :]:
                self._searched += 1
                if isinstance(message, kind) and fits(message):
                    return message
            self.turn()
        raise AssertionError(f"no {kind.__name__} as expected in {timeout_s} s; heard: {self.messages}")

    def until_state(self, state: CameraState, timeout_s: float = 30.0) -> CameraStatus:
        return self.until(CameraStatus, lambda status: status.state == state, timeout_s)

    def of(self, kind: type[M]) -> list[M]:
        return [message for message in self.messages if isinstance(message, kind)]

    def until_gone(self, process: psutil.Process, timeout_s: float = 10.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while process.is_running():
            assert time.monotonic() < deadline_s
            self.turn()

    def worker(self) -> psutil.Process:
        """The only worker."""
        (process,) = workers_of(os.getpid())
        return process


def workers_of(pid: int) -> list[psutil.Process]:
    """The capture workers that a process has started."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # or a zombie, which is one: it has ended
            if any("stream.worker" in word for word in child.cmdline()):
                found.append(child)
    return found
