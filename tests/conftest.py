"""What all tests share: a bundle that says something known, and the command line as a process."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.bundle import Bundle
from tests.formula_bundle import make_formula_bundle
from tests.program import Program
from tests.video_file import steady, write_video


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
