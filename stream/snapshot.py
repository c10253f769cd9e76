"""Snapshot: how the service is at one moment, in values that never change, for threads that may not look at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stream.capture import CapturePool
from stream.journal import Journal
from stream.messages import CameraCounters
from stream.publish import Publisher, PublisherStats
from stream.recognition import Recognition
from stream.result import EngineStats
from stream.roster import CameraState, ZoneState
from stream.service import Service
from stream.shard import WorkerInfo

STATES = ("connecting", "live", "degraded", "lost", "reconnecting", "failed", "ended")
"""Of a camera: those of its status, and `ended` for a file that was read to its end."""


@dataclass(frozen=True, slots=True)
class ZoneSnapshot:
    """One recognition stream. latency_s: of its last window, from its last frame's arrival to its decision."""

    name: str
    windows: int
    skipped: Mapping[str, int]
    open_events: int
    latency_s: float | None


@dataclass(frozen=True, slots=True)
class CameraSnapshot:
    """One camera. error, text: why it is not live, without a secret. counters: None until it has told any."""

    name: str
    state: str
    error: str | None
    text: str
    counters: CameraCounters | None
    zones: tuple[ZoneSnapshot, ...]

    @property
    def tried(self) -> bool:
        """Whether it has been opened, or found to fail."""
        return self.state != "connecting"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """engines: by the model's name as configured. interval: see Recognition. seq: of the run's last event."""

    cameras: tuple[CameraSnapshot, ...]
    engines: Mapping[str, EngineStats]
    interval: int
    workers: tuple[WorkerInfo, ...]
    publisher: PublisherStats
    seq: int
    journal: Path


@dataclass(frozen=True, slots=True)
class Parts:
    """What a running service is made of. `snapshot` is for the thread that runs it."""

    service: Service
    recognition: Recognition
    capture: CapturePool
    publisher: Publisher
    journal: Journal

    def snapshot(self) -> Snapshot:
        return Snapshot(
            cameras=tuple(_camera(name, camera) for name, camera in self.service.cameras.items()),
            engines=self.recognition.engine_stats(),
            interval=self.recognition.interval,
            workers=tuple(self.capture.workers()),
            publisher=replace(self.publisher.stats),
            seq=self.journal.head.seq,
            journal=self.journal.path,
        )


def summary(service: Service) -> str:
    """`12 cameras: 10 live, 2 lost`."""
    states = Counter(map(_state, service.cameras.values()))
    told = ", ".join(f"{states[state]} {state}" for state in STATES if state in states)
    return f"{len(service.cameras)} camera{'s' * (len(service.cameras) != 1)}: {told}"


def _camera(name: str, camera: CameraState) -> CameraSnapshot:
    status = camera.status
    return CameraSnapshot(
        name=name,
        state=_state(camera),
        error=None if status.error is None else status.error.value,
        text=status.text,
        counters=camera.counters,
        zones=tuple(_zone(zone_name, zone) for zone_name, zone in camera.zones.items()),
    )


def _state(camera: CameraState) -> str:
    ended = camera.finished is not None and camera.finished.reason == "eof"
    return "ended" if ended else camera.status.state


def _zone(name: str, zone: ZoneState) -> ZoneSnapshot:
    latency_s = None if zone.latency_ms is None else zone.latency_ms / 1e3
    return ZoneSnapshot(name, zone.windows, dict(zone.skipped), len(zone.machine.open_events), latency_s)
