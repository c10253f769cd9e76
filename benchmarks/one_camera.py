"""What one 640x360 camera at 15 fps costs, and how late its events are.

    python -m benchmarks.one_camera --seconds 60 [--model BUNDLE] [--footage FILE] [--json]

The camera is a process of its own whose cost is not counted: the demo camera, whose drawn actor makes events
all the time, or a file of real footage, transcoded to that size and rate. `swinstream run` is the real service,
with its defaults. Measured from outside, after a warm-up: CPU time of all its processes; resident memory; and
`latency_ms` of the events that a subscriber gets, which runs from the moment the window's last frame left the
decoder to the moment the event was sent. CPU time depends little on what else the machine does; latency does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import footage
from benchmarks.processes import MIB, ProcessTree
from stream.demo.camera import DemoCamera
from stream.subscribe import messages
from stream.wire import EventMessage, StatusMessage

WIDTH, HEIGHT, FPS = 640, 360, 15
START_S = 120.0
BARS = {"core_ms_per_camera_s": 80.0, "latency_p95_ms": 200.0, "rss_growth_percent": 5.0}
"""What issue 2 asks for, at most; memory over ten minutes."""


@dataclass
class Heard:
    """What a subscriber of the service has got."""

    latency_ms: dict[str, list[float]] = field(default_factory=lambda: {"queue": [], "infer": [], "total": []})
    events: Counter[str] = field(default_factory=Counter)
    fps: list[float] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def take(self, message: object) -> None:
        if isinstance(message, EventMessage):
            self.events[message.phase.value] += 1
            for part, values in self.latency_ms.items():
                value = getattr(message.latency_ms, part)
                if value is not None:
                    values.append(value)
        elif isinstance(message, StatusMessage):
            if message.fps is not None:
                self.fps.append(message.fps)
            if message.state != "live":
                self.troubles.append(f"{message.state}: {message.message or ''}")


class ServiceUnderTest:
    """`swinstream run --json` on one camera: a subprocess, its log watched for where it publishes and what it skips."""

    def __init__(self, camera: str, model: str | None, folder: Path) -> None:
        command = [sys.executable, "-m", "swinstream", "run", "--json", "--camera", f"camera={camera}"]
        command += ["--publish", "tcp://127.0.0.1:0", "--replay", "tcp://127.0.0.1:0"]
        command += ["--journal", str(folder / "events.sqlite3")] + (["--model", model] if model else [])
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
        )
        self.skipped_windows = 0
        self.addresses: tuple[str, str] | None = None
        self._ready = threading.Event()
        self._last = ""
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def wait(self) -> tuple[str, str]:
        """The addresses of events and replay, once it publishes. Raises RuntimeError."""
        self._ready.wait(START_S)
        if self.addresses is None:
            raise RuntimeError(f"swinstream did not start: {self._last.strip() or 'it said nothing'}")
        return self.addresses

    def stop(self) -> None:
        """As Ctrl-C. Raises RuntimeError if it does not end cleanly."""
        self.process.send_signal(signal.SIGINT)
        if code := self.process.wait(30):
            raise RuntimeError(f"swinstream ended with exit code {code}: {self._last.strip()}")
        self._reader.join()  # skipped windows that were not told yet are, in the end

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._last = line
            self.skipped_windows += skipped_in(line)
            if found := re.search(r"publishing events=(\S+) replay=(\S+)", line):
                self.addresses = found[1], found[2]
                self._ready.set()
        self._ready.set()


def skipped_in(line: str) -> int:
    """How many windows a line of the service's log says were skipped since the last such line."""
    found = re.search(r"windows skipped count=(\d+)", line)
    return int(found[1]) if found else 0


def measure(camera: str, *, model: str | None, seconds: float, warm_up_s: float, progress: bool) -> dict[str, Any]:
    """Run the service on the camera's address and watch it for `seconds`."""
    heard, stop = Heard(), threading.Event()
    with tempfile.TemporaryDirectory(prefix="swinstream-bench-") as folder:
        service = ServiceUnderTest(camera, model, Path(folder))
        try:
            events, replay = service.wait()
            tree = ProcessTree(service.process.pid)
            time.sleep(warm_up_s)

            def listen() -> None:
                for message in messages(events, replay=replay, stop=stop):
                    heard.take(message)

            listener = threading.Thread(target=listen)
            rss = [tree.sample()]
            begun_s, before, skipped = time.monotonic(), tree.cpu_s(), service.skipped_windows
            listener.start()
            for tick in track(
                range(1, round(seconds) + 1), "measuring", console=Console(stderr=True), disable=not progress
            ):
                time.sleep(max(0.0, begun_s + tick - time.monotonic()))
                rss.append(tree.sample())
            wall_s, after = time.monotonic() - begun_s, tree.cpu_s()
            stop.set()
            listener.join()
            service.stop()
            skipped = service.skipped_windows - skipped
        finally:
            stop.set()
            service.process.kill()
    cost = {name: round(1000 * (after[name] - before[name]) / wall_s, 1) for name in sorted(after)}
    return report(heard, cost, rss, wall_s, skipped)


def report(heard: Heard, cost: dict[str, float], rss: list[int], wall_s: float, skipped: int) -> dict[str, Any]:
    """The measured numbers as one object; the keys of `bench cameras --json`, and more."""
    mib = np.array(rss) / MIB
    half = len(mib) // 2
    return {
        "cameras": 1,
        "seconds": round(wall_s, 1),
        "core_ms_per_camera_s": round(sum(cost.values()), 1),
        "core_ms_by_process": cost,
        "fps_mean": round(float(np.mean(heard.fps)), 1) if heard.fps else None,
        "fps_min": round(min(heard.fps), 1) if heard.fps else None,
        "dropped": skipped,
        "not_live": heard.troubles,
        "events": dict(heard.events),
        "latency_ms": percentiles(heard.latency_ms["total"]),
        "latency_parts_ms": {part: percentiles(heard.latency_ms[part]) for part in ("queue", "infer")},
        "rss_mib": round(float(np.median(mib)), 1),
        "rss_first_half_mib": round(float(np.median(mib[:half])), 1),
        "rss_second_half_mib": round(float(np.median(mib[half:])), 1),
        "rss_growth_percent": round(100 * float(np.median(mib[half:]) / np.median(mib[:half]) - 1), 2),
        "rss_slope_mib_per_min": round(60 * float(np.polyfit(np.arange(len(mib)), mib, 1)[0]), 2),
        "rss_every_10_s_mib": [round(float(value), 1) for value in mib[::10]],
    }


def percentiles(values: list[float]) -> dict[str, float] | None:
    """p50, p95, p99 and how many there were; None of nothing."""
    if not values:
        return None
    p50, p95, p99 = (round(float(np.percentile(values, p)), 1) for p in (50, 95, 99))
    return {"p50": p50, "p95": p95, "p99": p99, "n": len(values)}


def verdicts(found: dict[str, Any]) -> dict[str, bool]:
    """Each bar that could be measured, and whether it was held."""
    values = {**found, "latency_p95_ms": (found["latency_ms"] or {}).get("p95")}
    return {name: values[name] <= most for name, most in BARS.items() if values[name] is not None}


@contextlib.contextmanager
def camera_of(file: Path | None, seed: int) -> Iterator[str]:
    """The address of the camera, which lives while the block lasts."""
    if file is None:
        with DemoCamera(seed=seed, width=WIDTH, height=HEIGHT, fps=FPS) as camera:
            yield camera.url
        return
    with tempfile.TemporaryDirectory(prefix="swinstream-footage-") as folder:
        footage.transcode(file, Path(folder) / footage.FILE, width=WIDTH, height=HEIGHT, fps=FPS)
        with footage.served(Path(folder)) as url:
            yield url


def table(found: dict[str, Any]) -> Table:
    out = Table.grid(padding=(0, 2))
    for key, value in found.items():
        if key == "rss_every_10_s_mib":
            continue
        text = ", ".join(f"{name} {number}" for name, number in value.items()) if isinstance(value, dict) else value
        out.add_row(key, str(text))
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one_camera", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=15, metavar="SECONDS", help="not measured (default 15)")
    parser.add_argument("--model", help="a shipped model's name, or a bundle's folder (default: the service's own)")
    parser.add_argument("--footage", type=Path, metavar="FILE", help="real footage instead of the demo camera")
    parser.add_argument("--seed", type=int, default=0, help="of the demo camera's programme")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a bar of issue 2 is missed")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    args = parser.parse_args()
    if args.seconds < 10:
        parser.error("--seconds must be at least 10")
    logging.basicConfig(level=logging.WARNING)
    with camera_of(args.footage, args.seed) as url:
        found = measure(
            url, model=args.model, seconds=args.seconds, warm_up_s=args.warm_up, progress=sys.stderr.isatty()
        )
    found["held"] = verdicts(found)
    if args.json:
        print(json.dumps(found))
    else:
        Console().print(table(found))
    return int(args.check and not all(found["held"].values()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"one_camera: {error}")
