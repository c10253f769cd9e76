from __future__ import annotations

import os
from pathlib import Path

import pytest
import zmq

from engine.runtime import driver
from engine.runtime.base import EngineError
from stream.doctor import machine
from stream.lock import FileLock
from tests.engine.runtime.pretended_driver import install


def test_the_processor_and_its_instructions(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(
        "processor\t: 0\nmodel name\t: Xeon 6\nflags\t\t: fpu avx2 avx512_vnni amx_bf16\nmodel name\t: other\n"
    )
    assert machine.processor(info).found.startswith("Xeon 6, ")
    assert machine.processor(info).found.endswith(" cores, avx2 avx512_vnni amx_bf16")
    assert "VNNI" not in machine.precisions(info).found
    info.write_text("flags : fpu avx2\n")
    assert "without VNNI" in machine.precisions(info).found


def test_memory_that_is_nearly_full(tmp_path: Path) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 204800 kB\n")
    check = machine.memory(info)
    assert (check.ok, check.found) == (False, "8,192 MiB, 200 MiB free")
    assert machine.memory(tmp_path / "nothing").ok


@pytest.mark.parametrize(
    ("vendor", "module", "told"),
    [("0x10de", False, "apt install nvidia-driver"), ("0x1002", False, ""), ("0x10de", True, "--gpus all")],
)
def test_a_card_without_a_driver(
    vendor: str, module: bool, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text("0x030000\n")
    if module:
        (tmp_path / "version").write_text("580.65.06\n")

    def none() -> None:
        raise EngineError("this machine has no NVIDIA driver")

    monkeypatch.setattr(driver, "_library", none)
    check = machine.gpus(tmp_path, tmp_path / "version")
    assert (check.ok, check.found, check.needed) == (False, "this machine has no NVIDIA driver", False)
    assert told in check.advice
    assert bool(told) == bool(check.advice)


def test_gpus_of_a_pretended_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, gpus=2, capability=(8, 9))
    (tmp_path / "version").write_text("580.65.06\n")
    check = machine.gpus(tmp_path, tmp_path / "version")
    card = "Pretended GPU (compute capability 8.9, 16384 MiB)"
    assert (check.ok, check.found) == (True, f"0: {card}; 1: {card}; driver 580.65.06, CUDA 13.0")
    install(tmp_path, monkeypatch, gpus=0, capability=(8, 9))
    assert not machine.gpus(tmp_path, tmp_path).ok


def test_the_journals_folder(tmp_path: Path) -> None:
    check, process = machine.journal(tmp_path / "not/yet/events.sqlite3", 1)
    assert (check.ok, process) == (True, None)
    assert not (tmp_path / "not").exists()
    little, _ = machine.journal(tmp_path / "events.sqlite3", 1 << 40)
    assert (little.ok, little.needed) == (False, False)
    refused, _ = machine.journal(Path("/proc/swinstream/events.sqlite3"), 1)
    assert (refused.ok, refused.needed) == (False, True)
    assert "--journal" in refused.advice


def test_ports_and_the_program_that_has_them(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as taken:
        taken.bind("tcp://127.0.0.1:0")
        address = taken.last_endpoint.decode()
        check = machine.port("publish", address, None)
        assert (check.ok, check.needed) == (False, True)
        assert "--publish ADDRESS" in check.advice
        path = tmp_path / "events.sqlite3"
        lock = FileLock(path.with_name("events.sqlite3.lock"))
        _, process = machine.journal(path, 1)
        lock.release()
        assert process == os.getpid()
        assert machine.port("publish", address, process).ok
    assert machine.port("publish", address, None).ok
