"""`swinstream info`."""

from __future__ import annotations

import json

import pytest

from engine.bundle import Bundle
from engine.network.cost import costs
from stream.info import info
from tests.formula_bundle import SPEC


def test_for_machines(motion_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert info(str(motion_bundle.path), as_json=True) == 0
    (line,) = capsys.readouterr().out.splitlines()
    facts = json.loads(line)
    assert (facts["version"], facts["fingerprint"]) == (SPEC.version, motion_bundle.fingerprint[:12])
    assert facts["labels"] == ["move", "count", "none"]
    assert (facts["name"], facts["rate_hz"], facts["window_s"]) == ("motion", 10.0, 0.6)
    assert facts["macs_per_window"] == sum(row.macs for row in costs(SPEC)) > 0


def test_for_people(motion_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert info(str(motion_bundle.path), as_json=False) == 0
    out = capsys.readouterr().out
    assert "move, count, none" in out
    assert "# motion" in out


def test_a_model_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert info("nope", as_json=True) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("swinstream: no model 'nope'")
