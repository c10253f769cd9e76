"""The parts of benchmarks/ that can be wrong without anyone noticing: how numbers are made of what was seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.int8_footage import link_clips
from benchmarks.isolation import compared
from benchmarks.lasting_state import drift, emulated, exact, in_bf16, served, skips, stretches
from benchmarks.memory_alone import MemoryAlone, read_anywhere
from benchmarks.state_worth import SPEC, WAYS, draw, drawn
from calibration.footage import find_recordings
from engine.bundle import Bundle
from engine.network.recognizer import Recognizer
from tests.formula_bundle import SPEC as FORMULA
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
    memory, given = MemoryAlone(Recognizer(SPEC).eval()), inputs(8)
    order = stretches(len(given), 40)
    rows = drift(exact(memory, given), emulated(memory, given), order)
    assert len(rows) == 10
    assert all(0 < row["logit_max"] < 0.1 for row in rows)
    assert all(row["logit_max"] == 0 for row in drift(exact(memory, given), exact(memory, given), order))


def test_what_is_served_carries_its_state(motion_bundle: Bundle) -> None:
    """The test bundle's state counts windows, so a network that skipped some is that far off."""
    spec = motion_bundle.spec
    window = Input(
        np.zeros((1, *spec.inputs[0].shape), np.uint8),
        np.zeros((1, *spec.inputs[1].shape), np.float16),
        np.zeros(spec.ticks, np.int64),
        0,
    )
    fine, late = served(motion_bundle, "fp32", [window]), served(motion_bundle, "fp32", [window])
    for _ in range(3):
        fine(0)
    rows = drift(fine, late, [0] * 20)
    assert [row["state_max"] for row in rows] == [3.0] * 10
    assert [row["logit_max"] for row in rows] == [3.0] * 10


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


def test_windows_begin_anywhere_in_their_first_second(walking: Path) -> None:
    """Files side by side begin at other moments, the same ones for the same seed; nothing after that is left out."""
    given = read_anywhere([walking, walking], FORMULA, seed=3)
    starts_ns = [inputs[0].pts_ns[0] for inputs in given]
    assert 0 < starts_ns[0] != starts_ns[1] > 0
    assert max(starts_ns) < FORMULA.window_s * 1e9 + 1e9 / 15
    assert [inputs[0].pts_ns[0] for inputs in read_anywhere([walking, walking], FORMULA, seed=3)] == starts_ns
    assert [inputs[0].pts_ns[0] for inputs in read_anywhere([walking, walking], FORMULA, seed=4)] != starts_ns
    assert all(len(inputs) in {9, 10} for inputs in given), "of six seconds in windows of 0.6"


def test_clips_are_linked_by_label_with_their_groups(tmp_path: Path) -> None:
    data = tmp_path / "surv_fight"
    for name in ("fight/a.mp4", "noFight/b.mp4"):
        (data / name).parent.mkdir(parents=True)
        (data / name).write_bytes(b"x")
    (data / "split.csv").write_text(
        "path,label,group,split\nfight/a.mp4,fight,g1,train\nnoFight/b.mp4,noFight,g2,val\n"
    )
    for _ in range(2):  # again over what is there
        assert link_clips(data, tmp_path / "clips") == 2
    found = find_recordings([str(tmp_path / "clips")], ("fight", "none"))
    assert [(r.label, r.camera, Path(r.source).read_bytes()) for r in found] == [
        ("fight", "g1", b"x"),
        ("none", "g2", b"x"),
    ]
