"""The parts of benchmarks/ that can be wrong without anyone noticing: how numbers are made of what was seen."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any, cast

import numpy as np
import pytest
import torch

from benchmarks.lasting_state import drift, in_bf16, skips
from benchmarks.memory_alone import MemoryAlone
from benchmarks.one_camera import Heard, percentiles, report, skipped_in, verdicts
from benchmarks.processes import MIB, ProcessTree, role
from benchmarks.state_worth import SPEC, WAYS, draw, drawn
from engine.network.recognizer import Recognizer
from stream.frame import StreamKey
from stream.logs import LineFormatter
from stream.service import Service
from train.online import Input

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


def test_skipped_windows_are_read_from_the_services_log(caplog: pytest.LogCaptureFixture) -> None:
    """Of four, the service tells the first at once and the others in one line, when it ends at the latest."""
    nothing = cast(Any, None)
    service = Service([], nothing, nothing, nothing)
    with caplog.at_level(logging.WARNING, "stream.service"):
        for _ in range(4):
            service._log_skip(StreamKey("camera", "full"), "backlog")
        service._tell_skips()
    lines = [LineFormatter(as_json=True).format(record) for record in caplog.records]
    assert [skipped_in(line) for line in lines] == [1, 3]
    assert skipped_in("camera live camera=count=7") == 0


def test_percentiles() -> None:
    assert percentiles([]) is None
    assert percentiles([float(n) for n in range(101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "n": 101}


def test_report_and_verdicts() -> None:
    """Memory grows from 100 to 110 MiB: ten percent from half to half, and too much."""
    heard = Heard(fps=[15.0, 14.0])
    heard.latency_ms["total"] = [10.0, 30.0]
    found = report(heard, {"core": 20.0, "capture worker": 30.5}, [100 * MIB] * 10 + [110 * MIB] * 10, 20.0, 3)
    assert found["core_ms_per_camera_s"] == 50.5
    assert found["rss_growth_percent"] == 10.0
    assert found["rss_slope_mib_per_min"] > 0
    assert (found["fps_min"], found["dropped"]) == (14.0, 3)
    assert verdicts(found) == {"core_ms_per_camera_s": True, "latency_p95_ms": True, "rss_growth_percent": False}
    assert "latency_p95_ms" not in verdicts(report(Heard(), {"core": 90.0}, [MIB] * 4, 4.0, 0))


def inputs(count: int) -> list[Input]:
    """Windows of drawn sequences, as they come from a file."""
    sequences = draw(count, seed=0)
    pictures, flows = sequences.picture.flatten(0, 1).numpy(), sequences.flow.flatten(0, 1).numpy()
    pts_ns = np.zeros(SPEC.ticks, np.int64)
    return [Input(p[None], f[None], pts_ns, 0) for p, f in zip(pictures[:count], flows[:count], strict=True)]


def test_the_memory_alone_says_what_the_network_says() -> None:
    """Across its chunks, and with the state zeroed before a window."""
    torch.manual_seed(0)
    model = Recognizer(SPEC).eval()
    assert model.memory_head is not None
    torch.nn.init.normal_(model.memory_head.weight)
    memory, given = MemoryAlone(model), inputs(6)
    logits, _ = memory.run(memory.features(given), memory.zero(), [False, False, False, True, False, False])
    state = model.initial_state(1)
    for n, window in enumerate(given):
        if n == 3:
            state = model.initial_state(1)
        with torch.inference_mode():
            expected, state = model(torch.from_numpy(window.picture), torch.from_numpy(window.flow), state)
        assert np.allclose(logits[n], expected[0].numpy(), atol=1e-5)


def test_skipped_windows_freeze_the_state_and_four_zero_it() -> None:
    assert skips(5, 0.0, 0) == ([0, 1, 2, 3, 4], [False] * 5)
    kept, reset = skips(4000, 0.5, 0)
    assert 1800 < len(kept) < 2200
    gaps = np.diff(kept)
    assert [bool(gap > 4) for gap in gaps] == reset[1:]
    assert any(reset)


def test_drift_is_found() -> None:
    assert in_bf16(torch.tensor(1.001)) == 1.0
    torch.manual_seed(0)
    rows = drift(MemoryAlone(Recognizer(SPEC).eval()), inputs(8), 40)
    assert len(rows) == 10
    assert all(0 < row["logit_max"] < 0.1 for row in rows)


def test_worth_of_a_state_is_measured_both_ways() -> None:
    """Untrained, a network is as good as chance; that a state helps, minutes of training show."""
    rows = drawn(seeds=1, steps=2, count=16)
    assert [row["carried"] for row in rows] == [way == "carried" for way in WAYS]
    assert set(rows[0]) == {"seed", "carried", "seen", "hidden_1", "hidden_2", "hidden_3"}
