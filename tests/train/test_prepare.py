from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.train.ucf101_files import write_xvid
from train.config import TrainConfig, TrainError
from train.data.cache import CacheError
from train.data.clips import ClipRef
from train.data.footage import FootageCache
from train.data.prepare import prepare, tell_skipped, write_skipped
from train.data.sequences import SequenceDataset

QUIET = Console(quiet=True)


@pytest.fixture
def refs(tmp_path: Path) -> list[ClipRef]:
    """Three good clips, and one each that is missing, unreadable, empty and too short."""
    for name in ("a", "b", "c"):
        write_xvid(tmp_path / f"{name}.avi")
    (tmp_path / "noise.avi").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "empty.avi").touch()
    write_xvid(tmp_path / "short.avi", frames=1)
    names = ("a", "missing", "b", "noise", "empty", "c", "short")
    return [ClipRef(tmp_path / f"{name}.avi", "walk", name) for name in names]


@pytest.mark.parametrize("processes", [0, 1])
def test_clips_of_no_use_are_listed_and_the_others_made(refs: list[ClipRef], tmp_path: Path, processes: int) -> None:
    cache = FootageCache(tmp_path, 48)
    skipped = prepare(cache, refs, QUIET, processes)
    assert [clip.ref.group for clip in skipped] == ["empty", "missing", "noise", "short"]
    reasons = {clip.ref.group: clip.reason for clip in skipped}
    assert all(str(tmp_path) in reason for reason in reasons.values())
    assert "no such file" in reasons["missing"]
    assert "empty (0 bytes)" in reasons["empty"]
    assert "only 1 frames" in reasons["short"]
    assert [ref.group for ref in refs if ref.path.exists() and cache.has(ref)] == ["a", "b", "c"]


def test_what_was_made_before_an_interruption_is_not_made_again(refs: list[ClipRef], tmp_path: Path) -> None:
    cache = FootageCache(tmp_path, 48)
    cache.make(refs[0])
    (file,) = tmp_path.glob("*.safetensors")
    before = file.stat().st_ino
    prepare(cache, refs[:3], QUIET)
    assert file.stat().st_ino == before
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_a_full_disk_stops(refs: list[ClipRef], tmp_path: Path, no_room: None) -> None:
    with pytest.raises(CacheError, match="the disk is full"):
        prepare(FootageCache(tmp_path, 48), refs, QUIET)


def test_the_list_is_told_and_written(refs: list[ClipRef], tmp_path: Path) -> None:
    skipped = prepare(FootageCache(None, 48), refs, QUIET)
    console = Console(width=300, record=True, file=io.StringIO())
    tell_skipped(skipped, console)
    told = console.export_text()
    assert told.startswith("4 clips are of no use and left out:")
    assert all(clip.reason in told for clip in skipped)
    write_skipped(tmp_path / "skipped.csv", skipped)
    with open(tmp_path / "skipped.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["group"], row["reason"]) for row in rows] == [(clip.ref.group, clip.reason) for clip in skipped]
    write_skipped(tmp_path / "skipped.csv", [])
    assert not (tmp_path / "skipped.csv").exists()


def test_training_data_does_without_a_corrupt_clip(settings: dict[str, Any], clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    bad = tmp_path / "clips" / "walk" / "anna.mp4"
    bad.write_bytes(bad.read_bytes()[:200])
    settings["data"] = {"root": str(tmp_path / "clips")}
    dataset = SequenceDataset(TrainConfig.model_validate(settings))
    assert [clip.ref.path for clip in dataset.skipped] == [bad]
    assert len(dataset.refs) == 3
    dataset[0, 0]
    (tmp_path / "clips" / "walk" / "ben.mp4").write_bytes(b"this is no video")
    with pytest.raises(TrainError, match=r"no clip of label 'walk' is of use; the first: .*anna\.mp4"):
        SequenceDataset(TrainConfig.model_validate(settings))


def test_with_and_without_a_cache_sequences_are_the_same(settings: dict[str, Any], clips: Path, tmp_path: Path) -> None:
    found = []
    for cache in (None, str(tmp_path / "cache"), str(tmp_path / "cache")):
        settings["data"] = {"root": str(clips), "cache": cache}
        settings["phases"][0]["mix"]["drawn"] = 0
        found.append(SequenceDataset(TrainConfig.model_validate(settings))[0, 1])
    for other in found[1:]:
        assert all(np.array_equal(found[0][name], other[name]) for name in found[0])


def test_one_class_alone_is_told(settings: dict[str, Any]) -> None:
    settings["model"]["labels"] = ("walk", "none")
    for phase in settings["phases"]:
        phase["mix"]["none"] = 0
    with pytest.raises(TrainError, match="'walk' is the only class and nothing is mixed in to tell it from"):
        SequenceDataset(TrainConfig.model_validate(settings))
