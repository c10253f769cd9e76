"""The parts of benchmarks/ that can be wrong without anyone noticing: how numbers are made of what was seen."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.isolation import compared
from benchmarks.lasting_state import drift, in_bf16, skips
from benchmarks.memory_alone import MemoryAlone
from benchmarks.state_worth import SPEC, WAYS, draw, drawn
from engine.network.recognizer import Recognizer
from train.online import Input


def inputs(count: int) -> list[Input]:
    """Windows of drawn sequences, as they come from a file."""
    sequences = draw(count, seed=0)
    pictures, flows = sequences.picture.flatten(0, 1).numpy(), sequences.flow.flatten(0, 1).numpy()
    pts_ns = np.zeros(SPEC.ticks, np.int64)
    return [Input(p[None], f[None], pts_ns, 0) for p, f in zip(pictures[:count], flows[:count], strict=True)]


def test_the_memory_alone_says_what_the_network_says() -> None:
    """Across its chunks, and with the state zeroed before a window."""
    torch.manual_seed(0)
    model = Recognizer(SPEC).eval()
    assert model.memory_head is not None
    torch.nn.init.normal_(model.memory_head.weight)
    memory, given = MemoryAlone(model), inputs(6)
    logits, _ = memory.run(memory.features(given), memory.zero(), [False, False, False, True, False, False])
    state = model.initial_state(1)
    for n, window in enumerate(given):
        if n == 3:
            state = model.initial_state(1)
        with torch.inference_mode():
            expected, state = model(torch.from_numpy(window.picture), torch.from_numpy(window.flow), state)
        assert np.allclose(logits[n], expected[0].numpy(), atol=1e-5)


def test_skipped_windows_freeze_the_state_and_four_zero_it() -> None:
    assert skips(5, 0.0, 0) == ([0, 1, 2, 3, 4], [False] * 5)
    kept, reset = skips(4000, 0.5, 0)
    assert 1800 < len(kept) < 2200
    gaps = np.diff(kept)
    assert [bool(gap > 4) for gap in gaps] == reset[1:]
    assert any(reset)


def test_drift_is_found() -> None:
    assert in_bf16(torch.tensor(1.001)) == 1.0
    torch.manual_seed(0)
    rows = drift(MemoryAlone(Recognizer(SPEC).eval()), inputs(8), 40)
    assert len(rows) == 10
    assert all(0 < row["logit_max"] < 0.1 for row in rows)


def test_worth_of_a_state_is_measured_both_ways() -> None:
    """Untrained, a network is as good as chance; that a state helps, minutes of training show."""
    rows = drawn(seeds=1, steps=2, count=16)
    assert [row["carried"] for row in rows] == [way == "carried" for way in WAYS]
    assert set(rows[0]) == {"seed", "carried", "seen", "hidden_1", "hidden_2", "hidden_3"}


def test_isolation_compares_camera_by_camera() -> None:
    """10 % of a slow camera's p95 or 20 ms of a fast one's; medians, so that one bad run does not decide."""
    without = [{"fast": 50.0, "slow": 300.0}] * 2 + [{"fast": 400.0, "slow": 900.0}]
    held = compared([{"fast": 70.0, "slow": 330.0}] * 2 + [{"fast": 1.0, "slow": 999.0}], without)
    assert held["held"]
    assert (held["worst"]["camera"], held["worst"]["change_ms"]) == ("slow", 30.0)
    assert held["cameras"][0]["spread_ms_with"] == [1.0, 70.0]
    missed = compared([{"fast": 71.0, "slow": 329.0}] * 3, without)
    assert not missed["held"]
    assert [camera["held"] for camera in missed["cameras"]] == [False, True]
