"""Probe: what the running service says of itself while it is measured, a line of JSON a second.

CPU time is read from the kernel's clocks of threads, in nanoseconds. Of the core process:

    main         the main thread: messages, event machines, journal, sockets
    clip         the recognition thread outside the engine: windows out of the rings, RGB, optical flow, scheduling
    engine       the recognition thread inside `Engine.infer`: copies, states
    inference    threads that are neither Python's nor ZeroMQ's: OpenVINO's, which compute the network
    other        every other Python thread, and ZeroMQ's

What OpenVINO computes it computes in threads of its own while the recognition thread waits; they cannot be asked
one by one, so they are what is left of the process's time. Everything counts up from the process's start.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.runtime.base import Engine, EngineInfo, Inference
from engine.runtime.device import Device, DeviceEngine, InputSource
from engine.spec import ModelSpec
from stream.demo.rtsp import tell
from stream.frame import StreamKey
from stream.result import Recognized
from stream.roster import CameraState
from stream.scheduler import SkipReason
from stream.service import Service

EVERY_S = 1.0
_TASKS = Path("/proc/self/task")


class MeteredEngine:
    """Implements Engine by another one, and notes what its calls cost the thread that they are made in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.thread = threading.get_ident()
        self.cpu_ns = 0
        self.wall_ns = 0
        self.batches: Counter[int] = Counter()

    @property
    def spec(self) -> ModelSpec:
        return self._engine.spec

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    def open_slot(self) -> int:
        return self._engine.open_slot()

    def reset_slot(self, slot: int) -> None:
        self._engine.reset_slot(slot)

    def close_slot(self, slot: int) -> None:
        self._engine.close_slot(slot)

    def infer(self, slots: Sequence[int], picture: npt.NDArray[np.uint8], flow: npt.NDArray[np.float16]) -> Inference:
        return self._metered(len(slots), lambda: self._engine.infer(slots, picture, flow))

    def _metered(self, windows: int, infer: Callable[[], Inference]) -> Inference:
        cpu_ns, wall_ns = time.thread_time_ns(), time.monotonic_ns()
        inference = infer()
        self.cpu_ns += time.thread_time_ns() - cpu_ns
        self.wall_ns += time.monotonic_ns() - wall_ns
        self.batches[windows] += 1
        return inference

    def state(self, slot: int) -> list[npt.NDArray[np.float32]]:
        return self._engine.state(slot)

    def close(self) -> None:
        self._engine.close()


class MeteredDeviceEngine(MeteredEngine):
    """Implements DeviceEngine by another one: what makes the inputs on the device is the engine's time."""

    def __init__(self, engine: DeviceEngine) -> None:
        super().__init__(engine)
        self._resident = engine

    @property
    def device(self) -> Device:
        return self._resident.device

    @property
    def largest(self) -> int:
        return self._resident.largest

    def infer_from(self, slots: Sequence[int], source: InputSource) -> Inference:
        return self._metered(len(slots), lambda: self._resident.infer_from(slots, source))


class Probe:
    """Observes a service from inside: `metered` its engines, and give it the observers."""

    def __init__(self) -> None:
        self._engines: list[MeteredEngine] = []
        self._latency_ms: defaultdict[str, list[float]] = defaultdict(list)
        self._skipped: Counter[str] = Counter()
        self._woken = 0
        self._due_s = 0.0

    def metered(self, make: Callable[[], Engine]) -> Callable[[], Engine]:
        """Makes the same engine, observed."""

        def made() -> MeteredEngine:
            engine = make()
            metered = MeteredDeviceEngine(engine) if isinstance(engine, DeviceEngine) else MeteredEngine(engine)
            self._engines.append(metered)
            return self._engines[-1]

        return made

    def engines(self) -> list[str]:
        """What serves, in words."""
        return [f"{engine.spec.name}: {engine.info}" for engine in self._engines]

    def on_window(self, recognized: Recognized, latency_s: float) -> None:
        """A window that had been held back as still is late by design, and is counted apart."""
        if recognized.woken:
            self._woken += 1
            return
        self._latency_ms[recognized.window.stream.camera].append(round(1000 * latency_s, 2))

    def on_skip(self, _stream: StreamKey, reason: SkipReason) -> None:
        self._skipped[reason.value] += 1

    def on_turn(self, service: Service) -> None:
        """At every turn of the service's loop."""
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = max(self._due_s + EVERY_S, now_s)
            tell(self._line(service, now_s))

    def _line(self, service: Service, now_s: float) -> dict[str, object]:
        latencies, self._latency_ms = self._latency_ms, defaultdict(list)
        batches: Counter[int] = sum((engine.batches for engine in self._engines), Counter())
        return {
            "time_s": now_s,
            "cpu_s": self._cpu_s(),
            "infer_wall_s": sum(engine.wall_ns for engine in self._engines) / 1e9,
            "batches": dict(batches),
            "skipped": dict(self._skipped),
            "woken": self._woken,
            "latency_ms": latencies,
            "cameras": {name: _camera(camera) for name, camera in service.cameras.items()},
        }

    def _cpu_s(self) -> dict[str, float]:
        total_s = time.process_time()
        recognizing = {engine.thread for engine in self._engines}
        infer_s = sum(engine.cpu_ns for engine in self._engines) / 1e9
        main_s = clip_s = other_s = 0.0
        for thread in threading.enumerate():
            if thread.ident is None:
                continue
            spent_s = _thread_s(thread.ident)
            if thread is threading.main_thread():
                main_s += spent_s
            elif thread.ident in recognizing:
                clip_s += spent_s
            else:
                other_s += spent_s
        other_s += sum(_zeromq_s(task) for task in _TASKS.glob("*"))
        return {
            "main": main_s,
            "clip": clip_s - infer_s,
            "engine": infer_s,
            "inference": total_s - main_s - clip_s - other_s,
            "other": other_s,
        }


def _camera(camera: CameraState) -> dict[str, object]:
    counters = camera.counters
    known = {} if counters is None else {"fps": round(counters.fps, 3)}
    return {
        "state": camera.status.state,
        "windows": sum(zone.windows for zone in camera.zones.values()),
        **known,
        "dropped": {} if counters is None else dict(counters.dropped),
    }


def _thread_s(ident: int) -> float:
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(ident))
    except OSError:  # it has just ended
        return 0.0


def _zeromq_s(task: Path) -> float:
    """CPU seconds of a kernel thread of ZeroMQ (they name themselves); 0.0 of another, and of one that has ended.

    By its first field in schedstat, nanoseconds on a processor.
    """
    try:
        if not (task / "comm").read_text().startswith("ZMQ"):
            return 0.0
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
