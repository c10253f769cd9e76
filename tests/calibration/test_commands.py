"""The commands as users meet them: what they write, what they print, what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from calibration import commands
from engine.bundle import Bundle
from stream.config import Config
from stream.plan import make_plan


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    return Bundle.load(Path(shutil.copytree(tiny_bundle.path, tmp_path / "tiny")))


def test_thresholds_end_in_the_bundle_with_a_plot(bundle, footage, capsys):
    data = str(footage / "other")
    assert commands.thresholds(str(bundle.path), [data], "1000000/day", [], None, None) == 0
    after = Bundle.load(bundle.path)
    assert after.thresholds["labels"]["move"]["enter"] >= 0.6
    assert after.thresholds["defaults"] == bundle.thresholds["defaults"]
    report = json.loads((after.path / "thresholds.json").read_text())
    assert report["bound_per_day"] <= 1000000
    assert (after.path / "thresholds.svg").read_text().lstrip().startswith("<?xml")
    assert "with 95% confidence" in capsys.readouterr().out


def test_a_budget_beyond_the_footage_is_refused_and_nothing_changes(bundle, footage, capsys):
    assert commands.thresholds(str(bundle.path), [str(footage)], "0.5/day", [], None, None) == 2
    assert "144 hours without a false event are needed" in " ".join(capsys.readouterr().err.split())
    assert Bundle.load(bundle.path).identity == bundle.identity


def test_one_cameras_thresholds_are_printed_for_its_configuration(bundle, footage, tmp_path, capsys):
    quiet, out = [str(footage / "other")], tmp_path / "report"
    assert commands.thresholds(str(bundle.path), quiet, "1000000/day", [], "door", out) == 0
    told = capsys.readouterr().err
    (camera,) = yaml.safe_load(told[told.index("cameras:") :])["cameras"]
    config = Config.model_validate({"model": str(bundle.path), "cameras": [{"uri": "x.mp4", **camera}]})
    (door,) = make_plan(config).cameras
    assert door.task.name == "door"
    measured = Bundle.load(out).thresholds["labels"]["move"]
    assert door.zones[0].rules["move"].enter == measured["enter"]
    assert Bundle.load(bundle.path).identity == bundle.identity


def test_scores_need_folders_named_as_labels_and_two_groups(bundle, footage, capsys):
    assert commands.scores(str(bundle.path), [str(footage / "other")], [], None) == 2
    assert "no clips in folders named as the model's labels" in capsys.readouterr().err
    assert commands.scores(str(bundle.path), [str(footage)], ["nobody"], None) == 2
    assert "no clips of group nobody" in capsys.readouterr().err
    assert commands.scores(str(bundle.path), [str(footage)], ["ann"], None) == 2
    assert "all clips are of one group (ann)" in " ".join(capsys.readouterr().err.split())


def test_a_temperature_ends_in_the_bundle_or_nothing_does(bundle, footage, capsys):
    assert commands.scores(str(bundle.path), [str(footage)], [], None) == 0
    after = Bundle.load(bundle.path)
    told = capsys.readouterr()
    if "no better temperature" in told.err:
        assert after.identity == bundle.identity
    else:
        report = json.loads((after.path / "scores.json").read_text())
        assert after.thresholds["temperature"] == pytest.approx(report["temperature"], abs=1e-3)
        assert report["after_nll"] < report["before_nll"]
        assert np.isfinite(report["after_ece"])
        assert "calibrate thresholds" in told.err
