"""What a process and its children cost: CPU seconds and resident memory, asked of the kernel from outside."""

from __future__ import annotations

from collections import Counter

import psutil

MIB = 1 << 20


def role(command_line: list[str]) -> str:
    """`capture worker` or `core`, by how the process was started."""
    return "capture worker" if any("stream.worker" in argument for argument in command_line) else "core"


class ProcessTree:
    """A process and everything it starts. A process that has ended keeps counting what it had used when last seen."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._roles: dict[int, str] = {}
        self._cpu_s: dict[int, float] = {}

    def sample(self) -> int:
        """Look at every process now; returns their resident memory, in bytes. Shared pages count in each."""
        rss = 0
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    self._roles.setdefault(process.pid, role(process.cmdline()))
                    rss += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            self._cpu_s[process.pid] = times.user + times.system
        return rss

    def cpu_s(self) -> Counter[str]:
        """CPU seconds used until the last sample, by role."""
        total: Counter[str] = Counter()
        for pid, seconds in self._cpu_s.items():
            total[self._roles[pid]] += seconds  # type: ignore[assignment]
        return total
