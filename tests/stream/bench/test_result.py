from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.bench.footage import Film, Format
from stream.bench.processes import MIB
from stream.bench.result import action_delays, memory, percentiles, report, stages_s, times_fewer, verdicts
from stream.bench.session import Heard, Recording
from stream.demo.schedule import Span

S = 1_000_000_000
FILM = Film(Path("film.mp4"), 10.0, (Span("walk", 1.0, 3.0), Span("run", 5.0, 8.0)))


def line(time_s: float, *, decoded: int, windows: int, latency_ms: list[float], **more: Any) -> dict[str, Any]:
    cpu = {"main": 0.1, "clip": 0.2, "engine": 0.05, "inference": 0.4, "other": 0.01}
    return {
        "time_s": time_s,
        "cpu_s": {part: spent * time_s for part, spent in cpu.items()},
        "infer_wall_s": 0.3 * time_s,
        "batches": {"1": round(time_s), "3": round(time_s)},
        "skipped": {},
        "woken": 0,
        "latency_ms": {"camera-0": latency_ms, "camera-1": latency_ms},
        "cameras": {
            name: {
                "state": "live",
                "windows": windows,
                "decoded": decoded,
                "fps": fps,
                "dropped": {"not_sampled": decoded // 5},
            }
            for name, fps in (("camera-0", 15.0), ("camera-1", 14.0))
        },
    } | more


def recording(**last: Any) -> Recording:
    """Two cameras for ten seconds; latencies that were told with the first line are of before."""
    lines = [
        line(10.0, decoded=150, windows=10, latency_ms=[900.0]),
        line(15.0, decoded=225, windows=15, latency_ms=[10.0, 20.0]),
        line(20.0, decoded=300, windows=20, latency_ms=[30.0]) | last,
    ]
    return Recording(
        lines=lines,
        cpu_s={"capture worker": 4.0, "core": 7.6, "film server": 0.2},
        rss=[100 * MIB] * 5 + [110 * MIB] * 5,
        begun_utc_ns={"camera-0": 100 * S},
        starts=[Heard("camera-0", "walk", 102 * S)],
        events={"start": 1},
        troubles=[],
        from_utc_ns=100 * S,
        to_utc_ns=110 * S,
        busy_share=0.5,
    )


FILMS = {"camera-0": FILM, "camera-1": FILM}


def test_percentiles() -> None:
    assert percentiles([]) is None
    assert percentiles(float(n) for n in range(101)) == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "n": 101}


def test_stages_add_up_to_what_the_processes_used() -> None:
    stages = stages_s(recording())
    assert stages == pytest.approx({"capture": 4.0, "flow": 2.0, "network": 4.5, "core": 1.1})
    assert sum(stages.values()) == pytest.approx(4.0 + 7.6)


def test_report() -> None:
    found = report(recording(skipped={"backlog": 2, "idle": 7}), FILMS, Format())
    assert (found["cameras"], found["seconds"]) == (2, 10.0)
    assert found["core_ms_per_camera_s"] == 580.0
    assert found["core_ms_by_stage"]["capture"] == 200.0
    assert found["film_server_core_ms_per_camera_s"] == 10.0
    assert (found["fps_min"], found["fps_mean"]) == (14.0, 14.5)
    assert (found["dropped"], found["dropped_by_reason"]) == (0, {"not_sampled": 60})
    assert (found["windows_skipped"], found["late_windows"]) == ({"backlog": 2, "idle": 7}, 2)
    assert found["latency_ms"] == {"p50": 20.0, "p95": 30.0, "p99": 30.0, "n": 6}
    assert found["windows_per_camera_s_min"] == 1.0
    assert found["batch_mean"] == 2.0
    assert found["busy_share"] == {"processors": 0.5, "recognition thread": 0.5, "main thread": 0.1}
    assert (found["actions"], found["actions_recognized"]) == (2, 1)
    assert found["rss_growth_percent"] == 10.0
    assert found["rss_slope_mib_per_min"] > 0


def test_what_the_reader_loses_is_dropped() -> None:
    last = recording().lines[-1]["cameras"]
    last["camera-1"]["dropped"] = {"not_sampled": 60, "decoder_queue": 4}
    found = report(recording(cameras=last), FILMS, Format()) | {"times_fewer": {}}
    assert found["dropped"] == 4
    assert not verdicts(found)["dropped"]


def test_an_action_is_told_by_the_first_event_of_its_label() -> None:
    begun = {"camera-0": 100 * S, "camera-1": 200 * S}
    heard = [
        Heard("camera-0", "run", 101 * S),  # another label: a wrong event
        Heard("camera-0", "walk", 102 * S),
        Heard("camera-0", "walk", 103 * S),
        Heard("camera-1", "walk", 207 * S),  # more than three seconds after its action's end
        Heard("camera-1", "run", 210 * S),
    ]
    assert action_delays(FILMS, begun, heard, 0, 300 * S) == (4, [1.0, 5.0])
    assert action_delays(FILMS, begun, heard, 0, 107 * S) == (1, [1.0]), "only what was over within the time"
    assert action_delays({"camera-0": Film(FILM.path, 10.0, None)}, begun, heard, 0, 300 * S) == (0, [])


def test_memory_of_a_service_that_does_not_grow() -> None:
    assert memory([100 * MIB] * 10, 10.0) == {
        "rss_mib": 100.0,
        "rss_max_mib": 100.0,
        "rss_growth_percent": 0.0,
        "rss_slope_mib_per_min": 0.0,
    }


def test_verdicts() -> None:
    found = report(recording(), FILMS, Format()) | {"times_fewer": {"baseline": 51.0, "baseline_stateless": 3.9}}
    assert verdicts(found) == {
        "fps_share": False,
        "dropped": True,
        "late_windows": True,
        "latency_p95_ms": True,
        "core_ms_per_camera_s": False,
        "rss_mib": True,
        "times_fewer_than_first": True,
        "times_fewer_than_stateless": False,
    }
    alone = found | {"cameras": 1, "seconds": 600.0, "latency_ms": {"p95": 201.0}, "times_fewer": {}}
    assert not verdicts(alone)["latency_p95_ms"], "a single camera's bar is lower"
    assert not verdicts(alone)["rss_growth_percent"]
    assert "times_fewer_than_first" not in verdicts(alone)


def test_times_fewer() -> None:
    ours, first = ({"core_ms_per_camera_s": cost} for cost in (40.0, 5000.0))
    assert times_fewer(ours, {"baseline": first}) == {"baseline": 125.0}
    assert times_fewer(ours, {}) == {}
