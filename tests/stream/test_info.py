"""`swinstream info`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from engine.bundle import Bundle
from engine.network.cost import costs
from stream.info import info
from tests.formula_bundle import SPEC


def test_for_machines(motion_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert info([str(motion_bundle.path)], as_json=True) == 0
    (line,) = capsys.readouterr().out.splitlines()
    facts = json.loads(line)
    assert (facts["version"], facts["fingerprint"]) == (SPEC.version, motion_bundle.fingerprint[:12])
    assert facts["labels"] == ["move", "count", "none"]
    assert (facts["name"], facts["rate_hz"], facts["window_s"]) == ("motion", 10.0, 0.6)
    assert facts["macs_per_window"] == sum(row.macs for row in costs(SPEC)) > 0


def test_for_people(motion_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert info([str(motion_bundle.path)], as_json=False) == 0
    out = capsys.readouterr().out
    assert "move, count, none" in out
    assert "# motion" in out


def test_a_model_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert info(["nope"], as_json=True) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("swinstream: no model 'nope'")


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    settings = {"model": SPEC.model_dump(mode="json") | {"name": "mine"}, "anything": "else"}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def test_a_training_configuration_is_told_as_its_model_will_be(
    configuration: Path, motion_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert info([str(motion_bundle.path), str(configuration)], as_json=True) == 0
    bundle, planned = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert planned["inputs"] == {tensor.name: list(tensor.shape) for tensor in SPEC.inputs}
    differing = {"name", "path", "fingerprint", "precisions"}
    assert {k: v for k, v in planned.items() if k not in differing} == {
        k: v for k, v in bundle.items() if k not in differing
    }
    assert info([str(configuration)], as_json=False) == 0
    assert "mine" in capsys.readouterr().out


def test_several_are_compared_in_a_markdown_table(
    configuration: Path, motion_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert info([str(configuration), str(motion_bundle.path)], as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["| model", "| ---", "| mine", "| motion"]
    assert {line.count("|") for line in lines} == {9}
    macs = sum(row.macs for row in costs(SPEC))
    assert lines[2].endswith(f"| {macs / 1e9:.2f} | {macs / 1e9 / SPEC.window_s:.2f} |")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read: No such file"),
        ("a: [", "not YAML"),
        ("cameras: []", "no training configuration: it has no section `model`"),
        ("model: {name: x, labels: [a]}", "model.version: Field required"),
    ],
)
def test_a_file_that_is_no_configuration(
    text: str | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert info([str(path)], as_json=True) == 2
    assert f"{path}: {told}" in capsys.readouterr().err
