"""`swinstream evaluate`, on a model whose right answers are known: it says `move` where something moves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.bundle import Bundle
from stream.demo.record import write_mp4
from train.data.clips import data_root
from train.evaluate_command import evaluate
from train.measurement import Wanted

pytestmark = pytest.mark.usefixtures("own_process")


@pytest.fixture(scope="module")
def footage(walking: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that moves, two that do not, one of them by another name, and one that is none."""
    root = tmp_path_factory.mktemp("footage")
    for name in ("move/a.mp4", "none/b.mp4", "still/c.mp4", "move/broken.mp4"):
        (root / name).parent.mkdir(exist_ok=True)
    shutil.copy(walking, root / "move/a.mp4")
    write_mp4(root / "none/b.mp4", (np.full((64, 64, 3), 90, np.uint8) for _ in range(30)), 15)
    shutil.copy(root / "none/b.mp4", root / "still/c.mp4")
    (root / "move/broken.mp4").write_bytes(b"no video")
    return root


def numbers(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    said = capsys.readouterr()
    (line,) = said.out.splitlines()
    return json.loads(line), said.err


def test_clips_views_films_and_quiet_footage(
    footage: Path, motion_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = footage / "still"
    wanted = Wanted(footage, none_folders=("still",), views=2, online=True, quiet=(still, footage / "move/a.mp4"))
    assert evaluate(str(motion_bundle.path), wanted, tmp_path / "report", as_json=True) == 0
    found, said = numbers(capsys)
    assert f"{still}: counted as none" in said
    assert f"not counted: {footage / 'move/broken.mp4'}" in said
    assert [found[key] for key in ("clips", "top1", "top5", "mean_class", "unreadable")] == [3, 1.0, 1.0, 1.0, 1]
    assert found["top1_low"] == pytest.approx(0.4385, abs=1e-4)
    assert [found[key] for key in ("views", "views_crops", "views_top1")] == [2, 3, 1.0]
    assert [found[f"offline_{key}"] for key in ("events_expected", "events_right")] == [1, 1]
    assert found["event_recall_iou0.5"] == 1.0
    assert found["frame_map"] > 0.9
    assert found["quiet_events"] == 1, "a walk among the quiet footage is one false event"
    assert found["false_events_per_hour"] == pytest.approx(3600 / found["quiet_s"], rel=1e-4)
    assert "events_right" not in found

    report = json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8"))
    assert report["confusion"][2] == [0, 0, 2]
    assert report | found == report
    markdown = (tmp_path / "report/report.md").read_text(encoding="utf-8")
    pictures = {"confusion.png", "precision_recall.png", "delays.png", "timeline_1.png"}
    assert {path.name for path in (tmp_path / "report").glob("*.png")} == pictures
    assert all(f"]({name})" in markdown for name in pictures)
    assert "| 3 | 100.0 % | 43.8 % to 100.0 % |" in markdown


@pytest.mark.timeout(180)
def test_live_the_service_publishes_what_the_file_says(
    walking: Path, motion_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "move").mkdir()
    shutil.copy(walking, tmp_path / "move/a.mp4")
    assert evaluate(str(motion_bundle.path), Wanted(tmp_path, live=True), None, as_json=True) == 0
    found, _ = numbers(capsys)
    assert [found[key] for key in ("events_expected", "events_right", "false_events", "footage_s")] == [1, 1, 0, 6.0]
    assert [found[f"offline_{key}"] for key in ("events_right", "false_events")] == [1, 0]
    assert [found[key] for key in ("live_minus_offline_points", "broken_films")] == [0.0, 0]
    # A window of 0.6 s, a minimum duration of 0.2 s, 0.2 s in the jitter buffer; and a machine that may be busy.
    assert 0.2 < found["live_delay_median_s"] < 10.0


def test_a_table_for_people(footage: Path, motion_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(str(motion_bundle.path), Wanted(footage), None, as_json=False) == 0
    said = capsys.readouterr()
    assert "2 clips: top-1 100.0 % (95 %: 34.2 % to 100.0 %), top-5 100.0 %, mean per class 100.0 %" in said.out
    assert "still: left out" in said.err


@pytest.mark.parametrize(
    ("wanted", "code", "told"),
    [
        (Wanted(Path("nowhere")), 2, "nowhere: no such folder"),
        (Wanted(Path("."), groups=("x",)), 2, "no clips of group x"),
        (Wanted(Path("."), quiet=(Path("nothing.mp4"),)), 2, "nothing.mp4: no such file or folder of quiet footage"),
        (Wanted(Path("."), engine="tensorrt"), 1, "no NVIDIA driver"),
    ],
)
def test_mistakes_are_one_clear_line(
    wanted: Wanted,
    code: int,
    told: str,
    footage: Path,
    motion_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(footage)
    assert evaluate(str(motion_bundle.path), wanted, None, as_json=False) == code
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("swinstream: ")]
    assert len(said) == 1
    assert told in said[0]


@pytest.mark.needs_data
def test_the_default_model_on_a_subject_by_both_protocols(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = Wanted(data_root() / "weizmann", groups=("lyova",), views=2)
    assert evaluate("movements", wanted, None, as_json=True) == 0
    found, _ = numbers(capsys)
    assert found["clips"] == 10
    assert found["top1"] >= 0.8
    assert found["views_top1"] >= 0.6
