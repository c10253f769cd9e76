"""Service: the core's main loop. Capture's messages and the network's results in, events and statuses out.

One thread: it polls the workers, the recognition thread and the sockets, and owns every EventMachine, the journal
and the publisher. Whatever ends the loop, every open event is ended and published before the sockets close.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import zmq

from stream.capture import CapturePool
from stream.event_machine import steps_of
from stream.events import Change, EndReason
from stream.frame import StreamKey
from stream.logs import fields
from stream.messages import (
    CameraCounters,
    CameraFinished,
    CameraStatus,
    EpochEnded,
    Message,
    WindowReady,
    WorkerLost,
)
from stream.publish import Publisher
from stream.recognition import Recognition
from stream.report import Clock
from stream.result import Recognized, Result
from stream.roster import CameraPlan, CameraState, Roster, ZoneState
from stream.scheduler import SkipReason
from stream.stopper import held_back
from stream.wire import EventMessage, Latency

MAX_WAIT_S = 0.25  # capture wants to be heard once a second, and people their screen and their Ctrl-C sooner
SKIPS_TOLD_EVERY_S = 10.0

_LEVELS = {"lost": logging.WARNING, "degraded": logging.WARNING, "failed": logging.ERROR}

_log = logging.getLogger(__name__)


class Service:
    """Runs until it is told to stop or every camera has finished. The caller made the parts, and closes them.

    on_events is called with each batch of events, when they have been published. note: told with the status of a
    camera that is well (that a slower engine had to do, say). on_window: called for every window that was computed,
    after its events were published, with the seconds from the arrival of its last frame to then. on_skip: for every
    window that was not.
    """

    def __init__(
        self,
        cameras: Sequence[CameraPlan],
        capture: CapturePool,
        recognition: Recognition,
        publisher: Publisher,
        on_events: Callable[[Sequence[EventMessage]], None] = lambda messages: None,
        note: str = "",
        *,
        on_window: Callable[[Recognized, float], None] = lambda recognized, latency_s: None,
        on_skip: Callable[[StreamKey, SkipReason], None] = lambda stream, reason: None,
    ) -> None:
        self._capture = capture
        self._recognition = recognition
        self._publisher = publisher
        self._on_events = on_events
        self._note = note
        self._on_window, self._on_skip = on_window, on_skip
        self._skips = 0  # not logged yet
        self._last_skip: tuple[StreamKey, str] | None = None  # of those
        self._skips_told_s = -SKIPS_TOLD_EVERY_S
        self._roster = Roster(capture, recognition, publisher, self._publish)
        self._planned = tuple(cameras)

    @property
    def cameras(self) -> dict[str, CameraState]:
        """By name."""
        return self._roster.cameras

    def apply(self, plans: Sequence[CameraPlan]) -> dict[str, list[str]]:
        """See Roster.apply."""
        return self._roster.apply(plans)

    def run(self, stop: threading.Event, on_turn: Callable[[], None] = lambda: None) -> bool:
        """The main loop, until `stop` is set; on_turn is called at least four times a second.

        True if every camera did its work, False if one failed for good. Raises RecognitionError when the engine
        broke; events that are open are ended all the same.
        """
        self._roster.begin(self._planned)
        try:
            while not stop.is_set() and not all(camera.settled for camera in self.cameras.values()):
                self._turn()
                on_turn()
        finally:
            self._tell_skips()
            self._end_all(EndReason.SHUTDOWN)
        failed = [c for c in self.cameras.values() if c.finished is not None and c.finished.reason == "failed"]
        return not failed

    # ---- one turn

    def _turn(self) -> None:
        wait_s = min(self._publisher.tick(), MAX_WAIT_S)
        poller = zmq.Poller()  # made anew, which takes 4 us: workers come and go
        for descriptor in (*self._capture.connections(), self._recognition.wakeup):
            poller.register(descriptor, zmq.POLLIN)
        for socket in self._publisher.sockets():
            poller.register(socket, zmq.POLLIN)
        poller.poll(round(wait_s * 1000) + 1)
        with held_back():  # a worker that died may be replaced now
            messages = self._capture.receive()
        for message in messages:
            self._hear(message)
        for result in self._recognition.collect():
            self._settle(result)
        self._publisher.handle_requests()

    def _hear(self, message: Message) -> None:
        match message:
            case WindowReady(stream=stream):
                self._offer(stream, message)
            case EpochEnded(stream=stream):
                self._rest(stream, self._zone(stream).gate.end())
                self._zone(stream).timeline.append(message)
                self._advance_timeline(stream)
            case CameraStatus(camera=name):
                self.cameras[name].status = message
                self._log_status(message)
                self._tell_status(name)
            case CameraCounters(camera=name) if name in self.cameras:  # they may be on their way when it has finished
                self.cameras[name].counters = message
                if self.cameras[name].running:
                    self._tell_status(name)
            case CameraFinished(camera=name):
                self.cameras[name].finished = message
                if message.reason != "failed":  # its status said so
                    counters = self.cameras[name].counters
                    windows = None if counters is None else counters.windows
                    _log.info(fields("camera finished", camera=name, reason=message.reason, windows=windows))
                self._roster.release(self.cameras[name])
            case WorkerLost(cameras=names, text=text, restart_s=restart_s):
                _log.error(fields("worker lost", cameras=",".join(names), detail=text, restart_s=round(restart_s, 1)))
            case _:
                pass

    def _offer(self, stream: StreamKey, ready: WindowReady) -> None:
        """To the recognition, unless the zone is at rest."""
        zone = self._zone(stream)
        active = not zone.machine.quiet
        passed = zone.gate.offer(ready, may_rest=not active and not zone.timeline)
        self._rest(stream, passed.idle)
        for window in passed.compute:
            zone.timeline.append(window)
            self._recognition.offer(window, active=active, idle_before=zone.gate.idle, woken=window is not ready)

    def _rest(self, stream: StreamKey, windows: Iterable[WindowReady]) -> None:
        """These are not computed, as nothing moved in them."""
        for _ in windows:
            self._zone(stream).skipped[SkipReason.IDLE.value] += 1
            self._on_skip(stream, SkipReason.IDLE)

    def _settle(self, result: Result) -> None:
        """A window was computed or skipped."""
        stream = result.ready.stream
        zone = self._zone(stream)
        if isinstance(result, Recognized):
            self._recognized(zone, result)
        else:
            zone.skipped[result.reason.value] += 1
            self._log_skip(stream, result.reason.value)
            self._on_skip(stream, result.reason)
        zone.timeline.remove(result.ready)
        self._advance_timeline(stream)
        self._roster.release(self.cameras[stream.camera])

    def _recognized(self, zone: ZoneState, result: Recognized) -> None:
        window, spec = result.window, zone.plan.spec
        zone.windows += 1
        clock = Clock(window.utc_offset_ns, window.clock)
        if result.finite:
            steps = steps_of(result.logits, window.pts_ns, spec.rate_hz, zone.plan.temperature)
            changes = zone.machine.advance(steps)
        else:
            _log.error(fields("the network's result is not finite; its state was zeroed", camera=window.stream.camera))
            changes = zone.machine.finish(EndReason.GAP)
        latency = Latency(queue=round(result.queue_ms, 1), infer=round(result.infer_ms, 1))
        self._publish(zone, changes, clock, latency, window.arrival_ns)
        latency_s = (time.monotonic_ns() - window.arrival_ns) / 1e9
        zone.latency_ms = latency_s * 1000
        self._on_window(result, latency_s)

    def _advance_timeline(self, stream: StreamKey) -> None:
        """An epoch's end takes effect when all windows before it are settled."""
        zone = self._zone(stream)
        while zone.timeline and isinstance(ended := zone.timeline[0], EpochEnded):
            zone.timeline.popleft()
            self._publish(zone, zone.machine.finish(EndReason(ended.reason), ended.pts_ns))

    def _publish(
        self,
        zone: ZoneState,
        changes: Iterable[Change],
        clock: Clock | None = None,
        latency: Latency | None = None,
        arrival_ns: int | None = None,
    ) -> None:
        drafts = zone.reporter.drafts(changes, clock, latency=latency, arrival_ns=arrival_ns)
        if drafts:
            self._on_events(self._publisher.publish(drafts))

    def _tell_status(self, name: str) -> None:
        camera = self.cameras[name]
        status = camera.status
        self._publisher.status(
            name,
            status.state,
            error=status.error,
            message=status.text or (self._note if camera.running else ""),
            next_try_s=status.next_try_s,
            fps=camera.counters.fps if camera.running and camera.counters is not None else None,
        )

    def _log_status(self, status: CameraStatus) -> None:
        next_try_s = None if status.next_try_s is None else round(status.next_try_s, 1)
        error = None if status.error is None else status.error.value
        text = fields(
            f"camera {status.state}", camera=status.camera, error=error, detail=status.text, next_try_s=next_try_s
        )
        _log.log(_LEVELS.get(status.state, logging.INFO), text)

    def _log_skip(self, stream: StreamKey, reason: str) -> None:
        """Under load there are many: one line stands for all since the line before."""
        self._skips += 1
        self._last_skip = (stream, reason)
        if time.monotonic() - self._skips_told_s >= SKIPS_TOLD_EVERY_S:
            self._tell_skips()

    def _tell_skips(self) -> None:
        if self._last_skip is None:
            return
        stream, reason = self._last_skip
        _log.warning(
            fields("windows skipped", count=self._skips, camera=stream.camera, zone=stream.zone, reason=reason)
        )
        self._skips, self._last_skip, self._skips_told_s = 0, None, time.monotonic()

    def _end_all(self, reason: EndReason) -> None:
        """In one go: if something fails in telling one, all the others have been told."""
        drafts = []
        for camera in self.cameras.values():
            for zone in camera.zones.values():
                drafts += zone.reporter.drafts(zone.machine.finish(reason))
        if drafts:
            self._on_events(self._publisher.publish(drafts))

    def _zone(self, stream: StreamKey) -> ZoneState:
        return self.cameras[stream.camera].zones[stream.zone]
