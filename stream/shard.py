"""Shard: a worker's place. The cameras are its own for good, the process in it may be replaced."""

from __future__ import annotations

import random
from dataclasses import dataclass

from stream.failure import ErrorClass
from stream.messages import CameraTask
from stream.process import WorkerProcess
from stream.reconnect import HEALTHY_S, Backoff


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker's place as metrics see it.

    pid: None while its process is being replaced. cpu_s: processor time of that process so far. restarts: processes
    started here after the first.
    """

    pid: int | None
    cpu_s: float
    cameras: tuple[str, ...]
    restarts: int


class Shard:
    """waiting: cameras for the next process. due_s: when that may be started, by the monotonic clock."""

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None
        self.waiting: list[CameraTask] = []
        self.due_s = 0.0
        self._deaths = 0
        self._backoff = Backoff(random.Random().uniform)

    @property
    def names(self) -> set[str]:
        """Its cameras."""
        running = set() if self.worker is None else set(self.worker.tasks)
        return running | {task.name for task in self.waiting}

    @property
    def info(self) -> WorkerInfo:
        pid, cpu_s = (None, 0.0) if self.worker is None else (self.worker.process.pid, self.worker.cpu_s)
        restarts = self._deaths if self.worker is not None else max(0, self._deaths - 1)
        return WorkerInfo(pid, cpu_s, tuple(sorted(self.names)), restarts)

    def bury(self, worker: WorkerProcess, now_s: float) -> float:
        """The process is gone: seconds until the next, 0 after one that ran well, more and more in a crash loop."""
        self.worker = None
        self._deaths += 1
        if self._deaths == 1 or now_s - worker.started_s >= HEALTHY_S:
            self._backoff = Backoff(random.Random().uniform)
            wait_s = 0.0
        else:
            wait_s = self._backoff.failed(ErrorClass.PROTOCOL)
        self.due_s = now_s + wait_s
        return wait_s
