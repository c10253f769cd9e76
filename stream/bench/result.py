"""From what was recorded to the numbers that are told: pure functions, and the bars that issue 5 sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stream.bench.footage import Film, Format
from stream.bench.processes import MIB
from stream.bench.session import Heard, Recording
from stream.frame import NS_PER_S
from stream.sampler import DropReason
from stream.scheduler import SkipReason

NO_FAULT = {DropReason.NOT_SAMPLED.value, DropReason.PHASE.value}
"""Frames that the network was never to see."""
GATED = {SkipReason.IDLE.value}
"""Windows in which nothing moved: not computed on purpose."""
GRACE_S = 3.0
"""An event that comes so long after its action's end still belongs to it."""

BARS: dict[str, tuple[str, float]] = {
    "fps_share": (">=", 0.98),
    "dropped": ("<=", 0),
    "late_windows": ("<=", 0),
    "latency_p95_ms": ("<=", 500.0),
    "core_ms_per_camera_s": ("<=", 60.0),
    "rss_mib": ("<=", 1536.0),
    "times_fewer_than_first": (">=", 50.0),
    "times_fewer_than_stateless": (">=", 4.0),
}
"""fps_share: of the slowest camera's own rate. late_windows: not computed though something moved in them.
times_fewer: core-milliseconds than the first-written stack, and than the same network without carried state."""
BASELINES = {"baseline": "times_fewer_than_first", "baseline_stateless": "times_fewer_than_stateless"}
"""Those of the stacks to compare with that have a bar."""
REAL_TIME = ("fps_share", "dropped", "late_windows", "latency_p95_ms")
"""The bars that say whether a machine keeps up."""
ONE_CAMERA_BARS: dict[str, tuple[str, float]] = {"latency_p95_ms": ("<=", 200.0), "rss_growth_percent": ("<=", 5.0)}
"""Where only one is watched."""
GROWTH_NEEDS_S = 300.0
"""Memory's growth means something after so long."""


def percentiles(values: Iterable[float]) -> dict[str, float] | None:
    """p50, p95, p99 and how many there were; None of nothing."""
    given = list(values)
    if not given:
        return None
    p50, p95, p99 = (round(float(np.percentile(given, p)), 1) for p in (50, 95, 99))
    return {"p50": p50, "p95": p95, "p99": p99, "n": len(given)}


def report(recording: Recording, films: Mapping[str, Film], picture: Format) -> dict[str, Any]:
    """The numbers as one object. films: by camera."""
    first, last = recording.lines[0], recording.lines[-1]
    cameras, seconds = len(films), recording.seconds
    per_camera_s = 1000 / cameras / seconds
    cost = {stage: round(s * per_camera_s, 2) for stage, s in stages_s(recording).items()}
    fps = {
        name: float(np.mean([line["cameras"][name].get("fps", 0.0) for line in recording.lines[1:]])) for name in films
    }
    dropped = _grown(_dropped(first, films), _dropped(last, films))
    skipped = _grown(Counter(first["skipped"]), Counter(last["skipped"]))
    windows = {name: last["cameras"][name]["windows"] - first["cameras"][name]["windows"] for name in films}
    latency = {name: latencies(recording, name) for name in films}
    worst = max((p["p95"] for values in latency.values() if (p := percentiles(values))), default=None)
    batches = {int(size): n for size, n in _grown(Counter(first["batches"]), Counter(last["batches"])).items()}
    return {
        "cameras": cameras,
        "seconds": round(seconds, 1),
        "size": f"{picture.width}x{picture.height}",
        "fps": picture.fps,
        "core_ms_per_camera_s": round(sum(cost.values()), 1),
        "core_ms_by_stage": cost,
        "film_server_core_ms_per_camera_s": round(recording.cpu_s["film server"] * per_camera_s, 2),
        "busy_share": busy_shares(recording),
        "fps_min": round(min(fps.values()), 2),
        "fps_mean": round(float(np.mean(list(fps.values()))), 2),
        "dropped": sum(n for reason, n in dropped.items() if reason not in NO_FAULT),
        "dropped_by_reason": dict(dropped),
        "windows": sum(windows.values()),
        "windows_per_camera_s_min": round(min(windows.values()) / seconds, 3),
        "windows_woken": last["woken"] - first["woken"],
        "windows_skipped": dict(skipped),
        "late_windows": sum(n for reason, n in skipped.items() if reason not in GATED),
        "batch_mean": round(sum(size * n for size, n in batches.items()) / max(1, sum(batches.values())), 2),
        "latency_ms": percentiles(v for values in latency.values() for v in values),
        "latency_p95_ms_worst_camera": worst,
        **_actions(recording, films),
        "events": dict(recording.events),
        "not_live": recording.troubles,
        **memory(recording.rss, seconds),
    }


def stages_s(recording: Recording) -> dict[str, float]:
    """CPU seconds by stage.

    capture: receive, decode, sample and scale, in the capture workers. flow: windows out of the rings, RGB and
    optical flow. network: OpenVINO's threads, and the recognition thread while it waits for them. core: events,
    journal, sockets, and every other thread.
    """
    first, last = recording.lines[0]["cpu_s"], recording.lines[-1]["cpu_s"]
    spent = {part: last[part] - first[part] for part in last}
    return {
        "capture": recording.cpu_s.get("capture worker", 0.0),
        "flow": spent["clip"],
        "network": spent["engine"] + spent["inference"],
        "core": spent["main"] + spent["other"],
    }


def busy_shares(recording: Recording) -> dict[str, float]:
    """How near to its limit, 1, each thing is that can be one: this machine's processors, whoever uses them, and the
    two threads of which there is one each."""
    first, last = recording.lines[0], recording.lines[-1]
    before_s, after_s = (line["cpu_s"]["clip"] + line["infer_wall_s"] for line in (first, last))
    main_s = last["cpu_s"]["main"] - first["cpu_s"]["main"]
    return {
        "processors": recording.busy_share,
        "recognition thread": round((after_s - before_s) / recording.seconds, 3),
        "main thread": round(main_s / recording.seconds, 3),
    }


def latencies(recording: Recording, camera: str) -> list[float]:
    """Milliseconds from the arrival of a window's last frame to its decision, of every window that was computed."""
    return [value for line in recording.lines[1:] for value in line["latency_ms"].get(camera, [])]


def memory(rss: Sequence[int], seconds: float) -> dict[str, float]:
    """Of resident memory, sampled evenly over so long: the median, and how it changes."""
    mib = np.array(rss) / MIB
    half = len(mib) // 2
    growth = float(np.median(mib[half:]) / np.median(mib[: max(1, half)]) - 1)
    at_s = np.linspace(0, seconds, len(mib))
    slope = float(np.polyfit(at_s, mib, 1)[0]) if len(mib) > 1 else 0.0
    return {
        "rss_mib": round(float(np.median(mib)), 1),
        "rss_max_mib": round(float(mib.max()), 1),
        "rss_growth_percent": round(100 * growth, 2),
        "rss_slope_mib_per_min": round(60 * slope, 2),
    }


def action_delays(
    films: Mapping[str, Film], begun_utc_ns: Mapping[str, int], starts: Sequence[Heard], from_ns: int, to_ns: int
) -> tuple[int, list[float]]:
    """(actions that began between the two moments, seconds from an action's true start until its event was heard).

    An action counts as recognized by the first event of its label heard between its start and GRACE_S after its end.
    """
    heard: dict[tuple[str, str], list[int]] = {}
    for start in starts:
        heard.setdefault((start.camera, start.label), []).append(start.utc_ns)
    expected, delays_s = 0, []
    for name, film in films.items():
        if film.truth is None or name not in begun_utc_ns:
            continue
        for span in film.truth:
            begin_ns, end_ns = (begun_utc_ns[name] + round(s * NS_PER_S) for s in (span.start_s, span.end_s))
            if not from_ns <= begin_ns < end_ns <= to_ns:
                continue
            expected += 1
            limit_ns = end_ns + round(GRACE_S * NS_PER_S)
            told = [at for at in heard.get((name, span.label), []) if begin_ns <= at <= limit_ns]
            if told:
                delays_s.append((min(told) - begin_ns) / NS_PER_S)
    return expected, delays_s


def times_fewer(found: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """By baseline, how many times its core-milliseconds a camera-second are those found."""
    ours_ms = float(found["core_ms_per_camera_s"])
    return {key: round(float(stack["core_ms_per_camera_s"]) / ours_ms, 1) for key, stack in baselines.items()}


def verdicts(found: Mapping[str, Any]) -> dict[str, bool]:
    """Each bar that could be measured, and whether it was held."""
    values = {
        **found,
        "latency_p95_ms": (found["latency_ms"] or {}).get("p95"),
        "fps_share": found["fps_min"] / found["fps"],
        **{bar: found["times_fewer"].get(key) for key, bar in BASELINES.items()},
    }
    if found["seconds"] < GROWTH_NEEDS_S:
        values["rss_growth_percent"] = None
    bars = BARS | ONE_CAMERA_BARS if found["cameras"] == 1 else BARS
    return {
        name: value <= limit if relation == "<=" else value >= limit
        for name, (relation, limit) in bars.items()
        if (value := values.get(name)) is not None
    }


def _actions(recording: Recording, films: Mapping[str, Film]) -> dict[str, Any]:
    expected, delays_s = action_delays(
        films, recording.begun_utc_ns, recording.starts, recording.from_utc_ns, recording.to_utc_ns
    )
    return {
        "actions": expected,
        "actions_recognized": len(delays_s),
        "action_to_event_ms": percentiles(1000 * delay_s for delay_s in delays_s),
    }


def _dropped(line: Mapping[str, Any], names: Iterable[str]) -> Counter[str]:
    total: Counter[str] = Counter()
    for name in names:
        total.update(line["cameras"][name]["dropped"])
    return total


def _grown(before: Counter[str], after: Counter[str]) -> Counter[str]:
    return after - before
