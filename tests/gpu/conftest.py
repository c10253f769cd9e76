"""What the report of `make test-gpu` says of the machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.gpu_report import machine


@pytest.fixture(scope="session", autouse=True)
def _told_machine(record_testsuite_property: Callable[[str, object], None]) -> None:
    if Path("/dev/nvidia0").exists():
        record_testsuite_property("machine", json.dumps(machine()))
