"""FileLock: one process at a time, released by the system however the process ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path


class LockedError(Exception):
    """Another process holds the lock. holder: its process id, if it could be read."""

    def __init__(self, path: Path, holder: int | None) -> None:
        super().__init__(f"{path} is locked by {f'process {holder}' if holder else 'another process'}")
        self.holder = holder


class FileLock:
    """Locks the file at `path`, made if need be. The file stays: removing it would let two in.

    Raises LockedError, OSError.
    """

    def __init__(self, path: Path) -> None:
        # Not inherited by child processes (PEP 446), so a worker that outlives us does not keep it.
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._fd)
        except OSError:
            holder = os.pread(self._fd, 20, 0).strip() if hasattr(os, "pread") else b""
            os.close(self._fd)
            raise LockedError(path, int(holder) if holder.isdigit() else None) from None
        if hasattr(os, "pwrite"):
            try:
                os.ftruncate(self._fd, 0)
                os.pwrite(self._fd, str(os.getpid()).encode(), 0)
            except OSError:  # a full disk
                self.release()
                raise

    def release(self) -> None:
        """Let others in. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
