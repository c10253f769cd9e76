from __future__ import annotations

import subprocess
import sys

import pytest

from stream.bench.processes import MIB, ProcessTree, role

BUSY = """
import subprocess, sys, time
worker = "import sys; 'stream.' 'worker'; sys.stdin.read()".replace("' '", "")
child = subprocess.Popen([sys.executable, "-c", worker], stdin=subprocess.PIPE)
while time.process_time() < 0.5: pass
print("busy", flush=True)
sys.stdin.read()
child.communicate()
"""


def test_tree_counts_children_by_role() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        tree = ProcessTree(process.pid)
        rss = tree.sample()
        cpu_s = tree.cpu_s()
        process.stdin.close()
    assert set(cpu_s) == {"core", "capture worker"}
    assert cpu_s["core"] >= 0.45
    assert cpu_s["capture worker"] < 0.45
    assert rss > 8 * MIB


def test_a_process_that_ended_keeps_its_share() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        tree = ProcessTree(process.pid)
        assert tree.sample() > 0
        before = tree.cpu_s()
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    assert tree.cpu_s() == before


@pytest.mark.parametrize(
    ("command", "expected"),
    [(["python", "-m", "swinstream"], "core"), (["python", "-c", "from stream.worker import main"], "capture worker")],
)
def test_roles(command: list[str], expected: str) -> None:
    assert role(command) == expected
