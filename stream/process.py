"""WorkerProcess: the core's handle on one capture worker, from its start to its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stream.channel import Channel
from stream.messages import CameraTask, EpochEnd

# The same packages as here, installed or not.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from stream.worker import main; main(int(sys.argv[2]))"


class WorkerProcess:
    """A running worker.

    tasks: the cameras it has. leaving: those it was told to end, and why. blocks: numbers of the shared blocks it
    writes. started_s, heard_s: when it was started and last said something, by the monotonic clock. starting: it has
    said nothing yet. connects_per_s: the share of the budget it was told; 0: none yet.
    """

    def __init__(self, now_s: float) -> None:
        self.channel, theirs = Channel.pair()
        with theirs:
            self.process = subprocess.Popen(
                # -P: a file in the current folder must not stand in for a module.
                [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[1]), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # data goes there, and libraries chatter
                pass_fds=[theirs.fileno()],
            )
        self.started_s = now_s
        self.heard_s = now_s
        self.starting = True
        self.connects_per_s = 0
        self.tasks: dict[str, CameraTask] = {}
        self.leaving: dict[str, EpochEnd] = {}
        self.blocks: set[int] = set()

    def end(self, patience_s: float) -> int:
        """Wait so long for it to exit, then kill it; returns the exit code."""
        try:
            code = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.channel.close()
        return code
