"""Forty seconds of the soak. `make soak` runs it for as long as you like; docs/soak.md has an hour of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.soak import soak
from tests.faults.soak_report import as_json, as_markdown


@pytest.mark.timeout(180)
def test_a_short_soak(tmp_path: Path) -> None:
    report = soak(seconds=40.0, cameras=6, seed=20261124, every_s=0.8, folder=tmp_path)
    print(as_markdown(report))
    assert report.violations == []
    assert report.events > 100
    assert len(report.faults) >= 15
    assert any(fault.lost for fault in report.faults)
    assert json.loads(json.dumps(as_json(report)))["violations"] == []
