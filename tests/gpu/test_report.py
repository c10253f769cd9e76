"""The report of `make test-gpu`, of tests that record what they would on a GPU: run here, by a pytest of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.gpu_report import failures, report

ROOT = Path(__file__).parents[2]
MACHINE = {
    "date": "2026-11-28",
    "gpu": "NVIDIA H100 (compute capability 9.0, 81559 MiB)",
    "driver": "580.95.05, CUDA 13.0",
    "libraries": {"tensorrt": "11.0", "torch": "2.13.0"},
}
BENCH = [
    {"model": "movements", "backend": "tensorrt", "precision": "fp16", "batch": 16, "ms_per_window": 0.05123,
     "windows_per_s": 19519.6, "peak_share": 0.31, "peak_gops": 690000.0, "device": "NVIDIA H100", "reason": ""},
    {"model": "movements", "backend": "openvino", "precision": "bf16", "batch": 16, "ms_per_window": None,
     "windows_per_s": None, "peak_share": None, "peak_gops": None, "device": "", "reason": "no bf16 here"},
]  # fmt: skip
RECORDED = {
    "parity": {"model": "movements", "precision": "fp16", "library": "tensorrt 11.0", "size_mb": 4.2, "windows": 12,
               "used": 0.18, "top1": 1.0, "scores": 0.0012, "states_rms": 0.003},
    "flow": {"footage": "run.avi", "size": "112x112", "mean": 1e-6, "p95": 2e-6, "largest": 1e-4, "share": 0.115},
    "live": {"model": "movements", "precision": "fp16", "windows": 240, "logits": 0.002, "of": 9.1, "events": 31,
             "events_cpu": 31},
    "stress": {"model": "movements", "streams": 400, "windows": 11823, "logits": 2e-4, "of": 9.1},
    "flow speed": {"size": "224x224", "cameras": 64, "tiled_ms": 1.234, "reference_ms": 5.6, "expected_ms": 0.96},
}  # fmt: skip
TESTS = """
import json
import pytest

MACHINE, RECORDED, BENCH = json.loads({given!r})


@pytest.fixture(scope="session", autouse=True)
def _machine(record_testsuite_property):
    record_testsuite_property("machine", json.dumps(MACHINE))


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_measured(name, record_property):
    record_property(name, json.dumps(RECORDED[name]))


def test_bench(record_property):
    record_property("bench", "".join(json.dumps(case) + "\\n" for case in BENCH))


def test_wrong():
    assert 1 == 2, "0.31 px | from DIS"


@pytest.mark.skip(reason="needs the real footage")
def test_left_out(): ...
"""


@pytest.fixture(scope="module")
def tests(tmp_path_factory) -> ElementTree.Element:
    """As the Makefile runs them: with its options, and the project's own, by which a warning is an error."""
    folder = tmp_path_factory.mktemp("recorded")
    given = json.dumps([MACHINE, RECORDED, BENCH])
    (folder / "test_recorded.py").write_text(TESTS.format(given=given))
    xml = folder / "tests.xml"
    makefile = (ROOT / "Makefile").read_text()
    options = ["-o", "junit_family=xunit1", "-W", "error", "-p", "no:cacheprovider"]
    assert "junit_family=xunit1 \\\n" in makefile
    command = [sys.executable, "-m", "pytest", "-q", *options, f"--junitxml={xml}", "-c", "/dev/null", folder]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    return ElementTree.parse(xml).getroot()


def test_everything_that_was_recorded_is_on_the_page(tests):
    page = report(tests)
    assert "NVIDIA H100 (compute capability 9.0, 81559 MiB); driver 580.95.05, CUDA 13.0; tensorrt 11.0, torch" in page
    assert "Tests: 6 passed, 1 failed, 1 skipped." in page
    assert "- failed: `test_recorded.test_wrong`: AssertionError: 0.31 px | from DIS" in page
    assert "- skipped: `test_recorded.test_left_out`: needs the real footage" in page
    rows = [
        "| movements | fp16 | tensorrt 11.0 | 4.2 | 12 | 100.0% | 0.0012 | 18% |",
        "| run.avi | 112x112 | 11.5% | 1e-06 | 2e-06 | 0.0001 |",
        "| movements | fp16 | 240 | 0.002 | 9.1 | 31 | 31 |",
        "| movements | 400 | 11823 | 0.0002 | 9.1 |",
        "| 224x224 | 64 | 1.23 | 5.6 | 0.96 |",
        "| movements | tensorrt | fp16 | 16 | 0.0512 | 19,520 | 31% | 690 | NVIDIA H100 |",
        "| movements | openvino | bf16 | 16 | - | - | - | - | not measured: no bf16 here |",
    ]
    lines = page.splitlines()
    for row in rows:
        assert row in lines
    assert "Nothing was measured" not in page
    assert len(lines) < 70, "one page"


def test_every_table_is_markdowns(tests):
    """As many cells in each row as the table has columns."""
    table: list[int] = []
    for line in [*report(tests).splitlines(), ""]:
        if line.startswith("|"):
            table.append(line.count("|"))
        else:
            assert len(set(table)) <= 1
            table = []


def test_a_run_that_failed_is_one(tests):
    assert failures(tests) == ["test_recorded.test_wrong"]


def test_where_nothing_ran_the_page_says_so(tmp_path):
    empty = tmp_path / "tests.xml"
    empty.write_text('<testsuites><testsuite name="pytest" tests="0"/></testsuites>')
    command = [sys.executable, "-m", "benchmarks.gpu_report"]
    done = subprocess.run([*command, empty], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "**The machine is not known**" in done.stdout
    assert done.stdout.count("**Nothing was measured.**") == 6
    done = subprocess.run([*command, tmp_path / "none.xml"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "none.xml: " in done.stderr
    assert "Traceback" not in done.stderr
