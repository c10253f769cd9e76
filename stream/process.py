"""WorkerProcess: the core's handle on one capture worker, from its start to its end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from stream.channel import Channel
from stream.messages import CameraTask, EpochEnd
from stream.pulse import HEART_BYTES, Heart, Pulse, account_of
from stream.ring import SharedBlock

# The same packages as here, installed or not.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from stream.worker import main; main(*map(int, sys.argv[2:]))"

LAST_WORDS_S = 0.3
"""How long a stuck worker has to say where it is stuck, which it does without its main thread."""
EXIT_S = 1.0
"""How long a worker has to exit that has closed its connection."""


class WorkerProcess:
    """A running worker.

    tasks: the cameras it has. leaving: those it was told to end, and why. blocks: numbers of the shared blocks it
    writes. started_s: when it was started, by the monotonic clock. cpu_s: processor time that it last told.
    connects_per_s: the share of the budget it was told; 0: none yet.
    """

    def __init__(self, now_s: float) -> None:
        self.channel, theirs = Channel.pair()
        shared = SharedBlock.create(HEART_BYTES)
        with theirs:
            ends = [theirs.fileno(), shared.descriptor]
            self.process = subprocess.Popen(
                # -P: a file in the current folder must not stand in for a module.
                [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[1]), *map(str, ends)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # data goes there, and libraries chatter
                pass_fds=ends,
            )
        shared.close_descriptor()
        self.started_s = now_s
        self.pulse = Pulse(now_s, Heart(shared).beats, partial(account_of, self.process.pid))
        self.cpu_s = 0.0
        self.connects_per_s = 0
        self.tasks: dict[str, CameraTask] = {}
        self.leaving: dict[str, EpochEnd] = {}
        self.blocks: set[int] = set()

    def exit_code(self) -> int | None:
        """Of a process that has closed its connection; None if it is not quite gone."""
        try:
            return self.process.wait(0.1)
        except subprocess.TimeoutExpired:
            return None

    def end(self, patience_s: float) -> None:
        """Wait so long for it to exit, then kill it."""
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.channel.close()


class Reaper:
    """Ends processes that are of no more use, without waiting for them: one in a system call may take its time."""

    def __init__(self) -> None:
        self._dying: list[tuple[subprocess.Popen[bytes], float]] = []

    def take(self, worker: WorkerProcess, now_s: float, *, stuck: bool) -> None:
        """stuck: it will not exit by itself; it is asked where it stands."""
        worker.channel.close()
        if stuck:
            worker.process.send_signal(signal.SIGUSR1)
        self._dying.append((worker.process, now_s + (LAST_WORDS_S if stuck else EXIT_S)))

    def turn(self, now_s: float) -> None:
        """To be called a few times a second."""
        for process, kill_s in self._dying:
            if process.poll() is None and now_s >= kill_s:
                process.kill()
        self._dying = [(process, kill_s) for process, kill_s in self._dying if process.returncode is None]

    def close(self, timeout_s: float) -> None:
        """Kill all that are left."""
        deadline_s = time.monotonic() + timeout_s
        while self._dying and time.monotonic() < deadline_s:
            self.turn(float("inf"))
            time.sleep(0.01)
