from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream.lock import FileLock, LockedError

ROOT = Path(__file__).parents[2]

HOLD = """
import sys, time
from pathlib import Path
from stream.lock import FileLock
lock = FileLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_one_at_a_time_and_free_again_after_release(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with pytest.raises(LockedError) as caught:
        FileLock(tmp_path / "lock")
    assert caught.value.holder == os.getpid()
    lock.release()
    lock.release()
    FileLock(tmp_path / "lock").release()


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(LockedError) as caught:
            FileLock(path)
        assert caught.value.holder == process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    FileLock(path).release()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        FileLock(tmp_path / "nowhere" / "lock")
