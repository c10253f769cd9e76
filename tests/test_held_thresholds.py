"""benchmarks/held_thresholds: which footage counts as quiet, and when a bound held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.held_thresholds import Source, falls, held, lower_bound, occasions, stirring, stretch, table
from benchmarks.quiet_footage import SIZE
from calibration.footage import Recording
from calibration.poisson import Budget
from calibration.trace import Trace
from engine.bundle import Bundle
from stream.demo.score import Span
from tests.formula_bundle import SPEC
from train.data.clips import ClipRef


def recorded(seed: int, hours: float, bursts_per_hour: float) -> Trace:
    """Quiet footage in which `move` looks likely now and then, by log-odds that no threshold sees through."""
    rng, windows = np.random.default_rng(seed), round(hours * 3600 / SPEC.window_s)
    logits = np.zeros((windows, SPEC.steps, len(SPEC.labels)), np.float32)
    logits[..., -1] = 12
    bursts = rng.random(windows) < bursts_per_hour * SPEC.window_s / 3600
    logits[bursts, :, 0] = 12 + rng.normal(2, 1, (int(bursts.sum()), 1))
    pts_ns = (np.arange(windows * SPEC.ticks) * 1e9 / SPEC.rate_hz).astype(np.int64).reshape(windows, SPEC.ticks)
    return Trace(Recording("x.mp4", None, "door", 3), SPEC, logits, pts_ns, np.zeros(windows, np.int64))


def source(name: str, seed: int, bursts_per_hour: float) -> Source:
    return Source(
        name,
        tuple(recorded(seed + n, 0.5, bursts_per_hour) for n in range(6)),
        (recorded(seed + 6, 0.1, bursts_per_hour),),
    )


def test_a_bound_holds_on_footage_alike_and_not_on_what_is_ten_times_as_restless(motion_bundle: Bundle) -> None:
    budgets = [Budget.parse("12/hour"), Budget.parse("1/hour")]
    setting = source("a", 10, 60.0)
    (alike,) = held(motion_bundle, setting, source("b", 20, 60.0), [], budgets)
    assert alike.budget == "12/hour", "two hours support no budget of one an hour"
    assert alike.bound_per_day <= 24 * 12
    assert alike.lowered == 0, "without clips no score goes below the bundle's"
    assert alike.drawn_events > 0
    assert alike.per_day(3) == pytest.approx(24.0, rel=1e-3), "three events in three hours"
    assert alike.held(alike.drawn_events)
    (restless,) = held(motion_bundle, setting, source("c", 30, 600.0), [], budgets)
    assert not restless.held(restless.drawn_events)
    assert not restless.held(restless.drawn_occasions)
    assert restless.real_events["move"] > 0
    assert table([alike, restless]).row_count == 2


def test_a_bound_is_contradicted_by_more_than_chance_brings() -> None:
    """Of a rate of one an hour, four in an hour are seen by chance once in fifty; one is nothing."""
    assert lower_bound(0, 1.0) == 0.0
    assert lower_bound(1, 1.0) == pytest.approx(0.0513, abs=1e-4)
    assert lower_bound(4, 1.0) == pytest.approx(1.3663, abs=1e-4)
    assert lower_bound(4, 2.0) == pytest.approx(1.3663 / 2, abs=1e-4)


def test_events_of_one_burst_are_one_occasion() -> None:
    times_s = [(0, 3), (10, 60), (70, 71), (91, 92), (111.5, 112)]
    assert occasions([Span("move", round(a * 1e9), round(b * 1e9)) for a, b in times_s]) == 2
    assert occasions([]) == 0


def test_a_fall_counts_from_where_nobody_walks(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "Fall").mkdir()
    sheet = tmp_path / "labels/Subject2_Fall.csv"
    sheet.write_text(
        "File Name,Classes\n01.mp4, Falling (BW)[6.9 to 12]; Walking[0 to 3.6]\n02.mp4, Falling (FW)[0 to 3]\n"
        "03.mp4, Falling (FW)[0 to 3]\n",
        encoding="utf-8",
    )
    for number in ("01", "02"):
        (tmp_path / f"Fall/Subject2_{number}.mp4").touch()
    assert [(ref.path.name, ref.start_s) for ref in falls([sheet])] == [
        ("Subject2_01.mp4", 3.6),
        ("Subject2_02.mp4", 0.0),
    ]


def test_only_windows_wholly_inside_a_stretch_count() -> None:
    trace = recorded(0, 6 / 3600, 0.0)  # ten windows of 0.6 s
    assert len(trace) == 10
    assert stretch(trace, ClipRef(Path("x.mp4"), "none", "a")).pts_ns.shape == trace.pts_ns.shape
    inside = stretch(trace, ClipRef(Path("x.mp4"), "none", "a", 0.7, 3.1))
    assert inside.pts_ns[:, 0].tolist() == [1_200_000_000, 1_800_000_000, 2_400_000_000]


def test_what_stirs_is_another_place_every_shot() -> None:
    frames = list(stirring(np.random.default_rng(0), 40.0))
    assert len(frames) == 600
    assert frames[0].shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(frames[0].astype(int) - frames[599].astype(int)).mean() > 10
