"""Roster: the cameras that are watched, and how they begin, change and end while the program runs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from engine.spec import ModelSpec
from stream.capture import CapturePool
from stream.event_machine import EventMachine
from stream.events import Change, Rules
from stream.frame import StreamKey
from stream.gate import IdleGate
from stream.messages import CameraCounters, CameraFinished, CameraStatus, CameraTask, EpochEnded, WindowReady
from stream.publish import Publisher
from stream.recognition import Recognition
from stream.report import Reporter
from stream.stopper import held_back
from stream.wire import ModelRef


@dataclass(frozen=True, slots=True)
class ZonePlan:
    """One recognition stream: its model by the engine's name, and how its scores become events.

    version: of the model, as events name it (`Bundle.identity`). idle_gating: windows in which nothing moves are not
    computed (of a live camera).
    """

    name: str
    engine: str
    spec: ModelSpec
    rules: dict[str, Rules]
    version: str
    temperature: float = 1.0
    idle_gating: bool = True


@dataclass(frozen=True, slots=True)
class CameraPlan:
    """A camera: what its worker is told, and its zones in the same order."""

    task: CameraTask
    zones: tuple[ZonePlan, ...]

    def captures_as(self, other: CameraPlan) -> bool:
        """Whether pictures, streams and models are the same, and only rules and gating may differ."""
        return self.task == other.task and [(zone.name, zone.engine, zone.version) for zone in self.zones] == [
            (zone.name, zone.engine, zone.version) for zone in other.zones
        ]


@dataclass(slots=True)
class ZoneState:
    """What is known of one recognition stream; the live table reads it."""

    plan: ZonePlan
    machine: EventMachine
    reporter: Reporter
    gate: IdleGate
    timeline: deque[WindowReady | EpochEnded] = field(default_factory=deque)  # not settled, in order of time
    windows: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    latency_ms: float | None = None  # of the last window: from its last frame's arrival to its decision


@dataclass(slots=True)
class CameraState:
    """What is known of one camera; the live table reads it.

    leaving: it was told to end because the configuration changed; successor: what then begins in its place.
    """

    plan: CameraPlan
    zones: dict[str, ZoneState]
    status: CameraStatus
    counters: CameraCounters | None = None
    finished: CameraFinished | None = None
    leaving: bool = False
    successor: CameraPlan | None = None

    @property
    def running(self) -> bool:
        """Pictures come."""
        return self.status.state in {"live", "degraded"}

    @property
    def settled(self) -> bool:
        """Nothing more will come of it."""
        return self.finished is not None and not any(zone.timeline for zone in self.zones.values())


class Roster:
    """Tells capture and recognition which cameras there are. publish: takes the changes of a zone's events."""

    def __init__(
        self,
        capture: CapturePool,
        recognition: Recognition,
        publisher: Publisher,
        publish: Callable[[ZoneState, Iterable[Change]], None],
    ) -> None:
        self.cameras: dict[str, CameraState] = {}
        self._capture, self._recognition, self._publisher = capture, recognition, publisher
        self._publish = publish

    def apply(self, plans: Sequence[CameraPlan]) -> dict[str, list[str]]:
        """Go on with these cameras. Returns their names by what happened: added, removed, restarted, rules.

        Where only rules changed, states and open events stay. A camera of which anything else changed ends, its events
        with it (`reconfigured`), and begins anew. The engines that the plans name must be there.
        """
        done: dict[str, list[str]] = {"added": [], "removed": [], "restarted": [], "rules": []}
        wanted = {plan.task.name: plan for plan in plans}
        for name, camera in list(self.cameras.items()):
            plan = wanted.pop(name, None)
            if plan is None:
                done["removed"].append(name)
                self._end(camera, None)
            elif camera.leaving or not plan.captures_as(camera.plan):
                done["restarted"].append(name)
                self._end(camera, plan)
            elif plan != camera.plan:
                done["rules"].append(name)
                self._change_in_place(camera, plan)
        done["added"] += wanted
        self.begin(list(wanted.values()))
        return {what: names for what, names in done.items() if names}

    def begin(self, plans: Sequence[CameraPlan]) -> None:
        for plan in plans:
            self.cameras[plan.task.name] = _camera_state(plan)
            for zone in plan.zones:
                stream = StreamKey(plan.task.name, zone.name)
                self._recognition.add(stream, zone.engine, lossless=not plan.task.uri.live)
        with held_back():
            self._capture.start([plan.task for plan in plans])

    def _end(self, camera: CameraState, successor: CameraPlan | None) -> None:
        if not camera.leaving and camera.finished is None:
            self._capture.remove(camera.plan.task.name, "removed" if successor is None else "reconfigured")
        camera.leaving, camera.successor = True, successor
        self.release(camera)

    def _change_in_place(self, camera: CameraState, plan: CameraPlan) -> None:
        camera.plan = plan
        for zone_plan in plan.zones:
            zone = camera.zones[zone_plan.name]
            zone.plan = zone_plan
            zone.gate.enabled = zone_plan.idle_gating
            self._publish(zone, zone.machine.reconfigure(zone_plan.rules))

    def release(self, camera: CameraState) -> None:
        """Free the states of a camera of which nothing more will come, and forget it if it is to leave."""
        if not camera.settled:
            return
        for name in camera.zones:
            self._recognition.remove(StreamKey(camera.plan.task.name, name))
        self._capture.forget(camera.plan.task.name)
        if camera.leaving:
            del self.cameras[camera.plan.task.name]
            if camera.successor is not None:
                self.begin([camera.successor])
            else:
                self._publisher.forget(camera.plan.task.name)


def _camera_state(plan: CameraPlan) -> CameraState:
    zones = {}
    for zone in plan.zones:
        stream = StreamKey(plan.task.name, zone.name)
        reporter = Reporter(stream, ModelRef(name=zone.spec.name, version=zone.version))
        zones[zone.name] = ZoneState(
            zone, EventMachine(zone.spec.actions, zone.rules), reporter, IdleGate(enabled=zone.idle_gating)
        )
    return CameraState(plan, zones, CameraStatus(plan.task.name, "connecting"))
