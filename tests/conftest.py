"""What all tests share: a bundle that says something known, and the command line as a process."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "linux":
    # Debian's GStreamer loads libunwind, whose _Unwind_Resume then stands in for libgcc's in every library loaded
    # later, and OpenVINO's C++ exceptions abort the process. Who is global first wins. The program itself has
    # GStreamer in the capture workers and OpenVINO in the core; only tests have both in one process.
    ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)

from engine.bundle import Bundle
from tests.formula_bundle import make_formula_bundle
from tests.program import Program
from tests.video_file import steady, write_video
from train.data.clips import data_root

MARKED = {
    "data": (
        "needs_data",
        "the real footage: set SWINSTREAM_DATA, or put it at ../shared/data",
        lambda: data_root().is_dir(),
    ),
    "gpu": ("needs_gpu", "an NVIDIA GPU", lambda: Path("/dev/nvidia0").exists()),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a test needs and this machine lacks skips it, unless SWINSTREAM_REQUIRE (data,gpu) says that it is there."""
    required = os.environ.get("SWINSTREAM_REQUIRE", "").split(",")
    for name, (marker, what, present) in MARKED.items():
        if item.get_closest_marker(marker) and not present():
            if name in required:
                pytest.fail(f"this test needs {what}, and SWINSTREAM_REQUIRE says it must run", pytrace=False)
            pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def motion_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Says `move` where something moves (tests/formula_bundle.py). Shared: do not change it."""
    return make_formula_bundle(tmp_path_factory.mktemp("bundles") / "motion")


@pytest.fixture(scope="session")
def walking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds at 15 fps of a square that walks: one event `move`."""
    return write_video(tmp_path_factory.mktemp("videos") / "walking.mp4", steady(6, 15))


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Runs `swinstream`; nothing of it may be left when the test is over."""
    running = Program(tmp_path)
    yield running
    running.close()


@pytest.fixture
def own_process() -> Iterator[None]:
    """A command called in this process installs signal handlers and a log: put back what was there."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    handlers = {number: signal.getsignal(number) for number in numbers}
    root = logging.getLogger()
    logs, level = root.handlers[:], root.level
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    root.handlers[:] = logs
    root.setLevel(level)
