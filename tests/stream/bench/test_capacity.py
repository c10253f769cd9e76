from __future__ import annotations

from typing import Any

import pytest

from stream.bench.capacity import FIRST, MOST_RUNS, next_count, predicted, summary


def found_by_search(bound: int, guess: int) -> tuple[int, int]:
    """The most cameras that were held by a machine that holds `bound`, and after how many runs."""
    tried: dict[int, bool] = {}
    count: int | None = FIRST
    while count is not None and len(tried) < MOST_RUNS:
        tried[count] = count <= bound
        count = next_count(tried, guess)
    return max((n for n, good in tried.items() if good), default=0), len(tried)


@pytest.mark.parametrize("bound", [0, 1, 3, 4, 20, 37, 100])
@pytest.mark.parametrize("error", [0.6, 1.0, 1.4])
def test_the_bound_is_found_to_a_tenth(bound: int, error: float) -> None:
    held, runs = found_by_search(bound, max(1, round(bound * error)))
    assert bound - max(1, bound // 10) < held <= bound or held == bound
    assert runs <= MOST_RUNS


def test_a_right_guess_takes_few_runs() -> None:
    assert found_by_search(40, 40)[1] <= 5


def test_the_film_servers_cost_is_foreseen() -> None:
    assert predicted({"core_ms_per_camera_s": 40.0, "film_server_core_ms_per_camera_s": 2.5}, 2) == 40


def run(cameras: int, *, held: bool, **more: Any) -> dict[str, Any]:
    bars = ("fps_share", "dropped", "late_windows", "latency_p95_ms")
    return {
        "cameras": cameras,
        "held": dict.fromkeys(bars, True) | ({} if held else {"latency_p95_ms": False}),
        "size": "640x360",
        "fps": 15,
        "core_ms_per_camera_s": 40.0,
        "film_server_core_ms_per_camera_s": 4.0,
        "core_ms_by_stage": {"capture": 25.0, "flow": 5.0, "network": 9.0, "core": 1.0},
        "busy_share": {"processors": 0.98, "recognition thread": 0.6, "main thread": 0.1},
        "latency_ms": {"p95": 80.0},
        "rss_mib": 400.0,
    } | more


def test_summary() -> None:
    found = summary([run(4, held=True), run(40, held=False), run(30, held=True), run(33, held=False)])
    assert (found["cameras"], found["cameras_without_film_server"]) == (30, 33)
    assert (found["bottleneck"], found["limited_by"]) == ("capture", "processors")
    assert found["missed_above"] == ["latency_p95_ms"]


def test_a_run_that_measured_no_latency_was_not_held() -> None:
    lost = run(4, held=True)
    del lost["held"]["latency_p95_ms"]
    assert summary([lost])["cameras"] == 0
