"""What the core and a capture worker say to each other, over one pair of connected sockets.

Pictures do not travel here: they lie in the rings (`stream.ring`), and a `WindowReady` says where. Everything
is a frozen dataclass of plain values. Nothing in a message may carry a secret except `CameraTask`, whose URI
the worker needs and which hides it when printed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from stream.failure import ErrorClass
from stream.frame import StreamKey
from stream.uri import CameraUri
from stream.zone import FULL, Zone

CameraState = Literal["connecting", "live", "degraded", "lost", "reconnecting", "failed"]

# Why an epoch ended, in the words of an event's `reason`: what the core ends the stream's open events with.
EpochEnd = Literal["gap", "camera_lost", "worker_lost", "eof", "removed", "reconfigured", "shutdown"]


# ---- core to worker


@dataclass(frozen=True, slots=True)
class ZoneTask:
    """One recognition stream of a camera: which part of the picture, and what its model wants of it.

    ticks: T per window. rate_hz: ticks a second. height, width: of the picture the network sees. picture_ticks:
    the ticks of a window on which chroma is needed. (All of them out of a `engine.spec.ModelSpec`, which a worker
    does not import: it needs neither pydantic nor anything else of the engine.)
    """

    name: str
    ticks: int
    rate_hz: float
    height: int
    width: int
    picture_ticks: tuple[int, ...]
    zone: Zone = FULL


@dataclass(frozen=True, slots=True)
class CameraTask:
    """What a worker is to capture. transport and what follows it: see `stream.receiver.SourceOptions`."""

    name: str
    uri: CameraUri
    zones: tuple[ZoneTask, ...]
    transport: Literal["tcp", "udp", "auto"] = "tcp"
    latency_ms: int = 200
    timeout_s: float = 10.0
    tls_verify: bool = True
    tls_ca: str | None = None

    def __post_init__(self) -> None:
        if not self.zones:
            raise ValueError(f"camera {self.name} has no zone")


@dataclass(frozen=True, slots=True)
class RingPlace:
    """Where a stream's ring lies in the shared block."""

    offset: int
    capacity: int


@dataclass(frozen=True, slots=True)
class AddCameras:
    """Capture these. The descriptor of their shared block, `nbytes` long, travels with the message.

    rings: per camera, per zone, in the order of the tasks. block: the core's number for the block.
    first_epochs: per camera; epochs of a stream only ever grow, also from a dead worker to its replacement.
    """

    block: int
    nbytes: int
    cameras: tuple[CameraTask, ...]
    rings: tuple[tuple[RingPlace, ...], ...]
    first_epochs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RemoveCamera:
    """End this camera, for this reason; `CameraFinished` follows."""

    camera: str
    reason: EpochEnd


@dataclass(frozen=True, slots=True)
class SetBudget:
    """Connect at most so often from now on: this worker's share of the budget over all cameras."""

    connects_per_s: int


@dataclass(frozen=True, slots=True)
class StopWorker:
    """End every camera (`shutdown`) and exit."""


Command = AddCameras | RemoveCamera | SetBudget | StopWorker


# ---- worker to core


@dataclass(frozen=True, slots=True)
class WindowReady:
    """T ticks of an epoch lie in the ring `block` from `position` on. `CapturePool.window` fetches them.

    index: 0, 1, ... within the epoch. motion: how much moved in it, in grey levels (see `stream.gate`); infinite
    where it was not measured. It is no part of what tells one window from another.
    """

    stream: StreamKey
    epoch: int
    index: int
    block: int
    position: int
    motion: float = field(default=math.inf, compare=False)


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """The stream's time broke: its state and its open events end here. The next window is of a later epoch.

    pts_ns: of the last frame that was sampled; None if there was none.
    """

    stream: StreamKey
    epoch: int
    reason: EpochEnd
    pts_ns: int | None


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """A camera's state changed, or its error did.

    error, text: why it is not live; text is one clear line without secrets. next_try_s: seconds from now, where
    another try is planned.
    """

    camera: str
    state: CameraState
    error: ErrorClass | None = None
    text: str = ""
    next_try_s: float | None = None


@dataclass(frozen=True, slots=True)
class CameraCounters:
    """Once a second. Counts are since the worker took the camera; fps is that of the last second.

    sampled, repeated, windows, dropped: over all zones. dropped: frames that became no tick, by reason; those
    called `not_sampled` and `phase` are no fault, `decoder_queue` are frames that were decoded and dropped because
    the camera's thread did not read them in time. repeated: ticks that had no frame of their own.
    reconnects: connections that gave frames, after the first. clock: where the last frame's UTC came from.
    jitter_ms: mean absolute deviation of (arrival - PTS) over the last second's frames.
    """

    camera: str
    decoded: int
    sampled: int
    repeated: int
    windows: int
    dropped: dict[str, int]
    fps: float
    reconnects: int = 0
    clock: Literal["rtcp", "arrival"] = "arrival"
    jitter_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class CameraFinished:
    """Nothing more will come of this camera. eof: a file was read to its end. failed: for good; text says why."""

    camera: str
    reason: Literal["eof", "failed", "removed"]
    text: str = ""


@dataclass(frozen=True, slots=True)
class WorkerLog:
    """A log record of the worker: the core writes all logs."""

    level: int
    logger: str
    text: str


@dataclass(frozen=True, slots=True)
class WorkerAlive:
    """Once a second. cpu_s: processor time so far."""

    pid: int
    cpu_s: float


# ---- made by the pool in the core


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker process died or hung; `EpochEnded` with `worker_lost` for its streams came before this."""

    cameras: tuple[str, ...]
    text: str
    restart_s: float


Message = (
    WindowReady | EpochEnded | CameraStatus | CameraCounters | CameraFinished | WorkerLog | WorkerAlive | WorkerLost
)
