from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from engine.spec import FlowSpec, ModelSpec
from tests.train.ucf101_files import write_xvid
from train.config import TrainError
from train.data.cache import LEFTOVER_S, CacheError, cache_folder
from train.data.clips import ClipRef, Footage, load_footage
from train.data.footage import FootageCache
from train.data.windows import WindowCache, clip_windows


@pytest.fixture
def ref(tmp_path: Path) -> ClipRef:
    write_xvid(tmp_path / "a.avi", frames=24)
    return ClipRef(tmp_path / "a.avi", "walk", "anna")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = cache_folder(str(tmp_path / "cache"))
    assert path is not None
    return path


def equal(one: Footage, other: Footage) -> bool:
    planes = ((one.y, other.y), (one.u, other.u), (one.v, other.v), (one.pts_s, other.pts_s))
    return one.full_range == other.full_range and all(np.array_equal(a, b) for a, b in planes)


def test_what_comes_back_is_what_was_decoded(ref: ClipRef, folder: Path) -> None:
    decoded = load_footage(ref, 30)
    cache = FootageCache(folder, 30)
    assert not cache.has(ref)
    assert equal(cache[ref], decoded)
    assert cache.has(ref)
    sent = pickle.loads(pickle.dumps(cache))
    assert equal(sent[ref], decoded)
    assert isinstance(sent[ref].y.base, np.memmap) or isinstance(sent[ref].y.base.base, np.memmap)
    assert not sent[ref].y.flags.writeable


def test_whatever_changes_a_clip_makes_another_file(ref: ClipRef, folder: Path) -> None:
    cache = FootageCache(folder, 30)
    cache.make(ref)
    assert not FootageCache(folder, 60).has(ref)
    assert not cache.has(ClipRef(ref.path, "walk", "anna", 0.1))
    assert not cache.has(ClipRef(ref.path, "walk", "anna", 0.0, 0.5))
    assert cache.has(ClipRef(ref.path, "other", "label"))
    os.utime(ref.path, ns=(0, 0))
    assert not cache.has(ref)
    write_xvid(ref.path, shade=90, frames=24)
    assert equal(cache[ref], load_footage(ref, 30))


def test_a_file_that_is_not_whole_is_made_anew(ref: ClipRef, folder: Path) -> None:
    cache = FootageCache(folder, 30)
    cache.make(ref)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", b"nonsense", whole[:100], whole[:-1]):
        file.write_bytes(damaged)
        assert not cache.has(ref)
    assert equal(FootageCache(folder, 30)[ref], load_footage(ref, 30))
    assert file.stat().st_size == len(whole)


def test_without_a_folder_clips_stay_in_memory(ref: ClipRef, tmp_path: Path) -> None:
    cache = FootageCache(cache_folder(None), 30)
    assert cache[ref] is cache[ref]
    assert cache.has(ref)
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]


def test_parts_that_a_killed_process_left_are_swept(folder: Path) -> None:
    old, new = folder / "old.part", folder / "new.part"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, new.stat().st_mtime - LEFTOVER_S - 60))
    cache_folder(str(folder))
    assert list(folder.iterdir()) == [new]


def test_a_full_disk_is_told_and_leaves_nothing(ref: ClipRef, folder: Path, no_room: None) -> None:
    with pytest.raises(CacheError, match=r"data\.cache: .*: the disk is full; what is there stays good"):
        FootageCache(folder, 60).make(ref)
    assert not list(folder.iterdir())


def test_a_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"can't be made: .*; name another folder"):
        cache_folder(str(tmp_path / "file" / "cache"))


def test_windows_come_back_with_their_flow(ref: ClipRef, folder: Path, spec: ModelSpec) -> None:
    cache = WindowCache(folder, spec)
    made, again = cache.make(ref), cache[ref]
    assert np.array_equal(made.picture, again.picture)
    assert np.array_equal(made.flow, again.flow)
    assert np.abs(made.flow).max() > 0.5
    for live, kept in zip(clip_windows(ref, spec), cache.windows(ref), strict=True):
        assert live.picture.tobytes() == kept.picture.tobytes()
        assert live.flow.tobytes() == kept.flow.tobytes()
        assert kept.flow.flags.writeable  # torch warns of what is not
    coarse = spec.model_copy(update={"flow": FlowSpec(finest_scale=2)})
    assert not WindowCache(folder, coarse).has(ref)
    renamed = spec.model_copy(update={"name": "other", "labels": ("run", "none")})
    assert WindowCache(folder, renamed).has(ref)


def test_a_clip_of_less_than_half_a_window_is_told(ref: ClipRef, folder: Path, spec: ModelSpec) -> None:
    with pytest.raises(TrainError, match="shorter than half a window"):
        WindowCache(folder, spec).make(ClipRef(ref.path, "walk", "anna", 0.0, 0.05))
