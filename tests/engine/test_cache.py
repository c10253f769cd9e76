from __future__ import annotations

import dataclasses
import logging

import pytest

from engine.cache import EngineCache, EngineKey

KEY = EngineKey(
    model="small",
    graph="a" * 64,
    inputs=("picture uint8 ['N', 4, 40, 24, 3]",),
    precision="fp16",
    batches=(1, 4),
    target="tensorrt",
    library="tensorrt 11.0",
    device="NVIDIA L4, sm_89",
    driver="CUDA 13.0",
)
PAYLOAD = bytes(range(256)) * 10
OTHER = {
    "graph": "b" * 64,
    "inputs": ("picture uint8 ['N', 8, 40, 24, 3]",),
    "precision": "bf16",
    "batches": (1, 8),
    "target": "tensorrt-rtx",
    "library": "tensorrt 11.1",
    "device": "NVIDIA H100, sm_90",
    "driver": "CUDA 13.1",
    "options": ("version_compatible=True",),
}


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / "engines")


def test_what_was_stored_is_found(cache):
    assert cache.load(KEY) is None
    path = cache.store(KEY, PAYLOAD)
    assert cache.load(KEY) == PAYLOAD
    cache.store(KEY, b"newer")
    assert cache.load(KEY) == b"newer"
    assert list(cache.folder.iterdir()) == [path], "nothing is left beside it"


@pytest.mark.parametrize("field", OTHER)
def test_whatever_changes_the_meaning_changes_the_engine(cache, field):
    cache.store(KEY, PAYLOAD)
    assert cache.load(dataclasses.replace(KEY, **{field: OTHER[field]})) is None


@pytest.mark.parametrize("field", OTHER)
def test_a_foreign_file_in_the_right_place_is_not_trusted(cache, field, caplog):
    """As after a copy from another machine, or a change of driver that kept the name."""
    other = dataclasses.replace(KEY, **{field: OTHER[field]})
    cache.store(other, PAYLOAD).rename(cache.path(KEY))
    with caplog.at_level(logging.WARNING):
        assert cache.load(KEY) is None
    assert f"is of another {field}: it is built again" in caplog.text


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-1], "is damaged"),
        (lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:], "is damaged"),
        (lambda data: data + b"x", "is damaged"),
        (lambda data: b"", "is no engine file"),
        (lambda data: data[:20], "is no engine file"),
        (lambda data: b"[]\n" + data, "is no engine file"),
        (lambda data: data.replace(b"swinstream.engine/1", b"swinstream.engine/0"), "is of format"),
    ],
)
def test_a_damaged_file_is_not_trusted(cache, damage, reason, caplog):
    path = cache.store(KEY, PAYLOAD)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert cache.load(KEY) is None
    assert reason in caplog.text


def test_a_failed_write_leaves_the_old_file(cache, monkeypatch):
    cache.store(KEY, PAYLOAD)
    monkeypatch.setattr("engine.cache.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        cache.store(KEY, b"half of a newer")
    assert cache.load(KEY) == PAYLOAD
    assert len(list(cache.folder.iterdir())) == 1


def full(descriptor):
    raise OSError("no space left")
