from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.runtime.base import EngineInfo, Inference
from engine.spec import ModelSpec
from stream.bench.probe import Probe, _zeromq_s

BURN_S = 0.2


def burn() -> None:
    """Use the calling thread's processor for BURN_S."""
    until_s = time.thread_time() + BURN_S
    while time.thread_time() < until_s:
        pass


class BurningEngine:
    """Implements Engine; a call takes BURN_S of its thread."""

    spec = ModelSpec(
        name="burning", version="1", labels=("a", "none"), modality="rgb", ticks=2, rate_hz=1, height=8, width=8
    )
    info = EngineInfo("openvino", "fp32", "cpu")

    def open_slot(self) -> int:
        return 0

    def reset_slot(self, slot: int) -> None: ...

    def close_slot(self, slot: int) -> None: ...

    def infer(self, slots: Sequence[int], picture: Any, flow: Any) -> Inference:
        burn()
        return Inference(np.zeros((len(slots), 1, 2), np.float32), np.ones(len(slots), np.bool_))

    def state(self, slot: int) -> list[Any]:
        return []

    def close(self) -> None: ...


def test_each_thread_is_told_apart() -> None:
    probe, measured, over = Probe(), threading.Barrier(3), threading.Event()
    none = np.zeros(0)

    def recognize() -> None:
        engine = probe.metered(BurningEngine)()
        burn()
        engine.infer([0, 1], none, none)
        engine.infer([0], none, none)
        measured.wait()
        over.wait()

    def listen() -> None:
        burn()
        measured.wait()
        over.wait()

    before = probe._cpu_s()
    threads = [threading.Thread(target=target) for target in (recognize, listen)]
    for thread in threads:
        thread.start()
    burn()
    measured.wait()
    after, total_s = probe._cpu_s(), time.process_time()
    over.set()
    for thread in threads:
        thread.join()
    assert sum(after.values()) == pytest.approx(total_s, abs=0.01), "the parts are the process"
    used = {part: after[part] - before[part] for part in after}
    expected = {"main": BURN_S, "clip": BURN_S, "engine": 2 * BURN_S, "other": BURN_S}
    assert {part: used[part] for part in expected} == pytest.approx(expected, abs=0.05)
    assert probe.engines() == ["burning: openvino fp32 on cpu"]


def test_a_thread_that_has_just_ended_costs_nothing(tmp_path: Path) -> None:
    assert _zeromq_s(tmp_path / "gone") == 0.0
