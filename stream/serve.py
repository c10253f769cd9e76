"""Serve: build the service's parts, run it to its end, and take everything down again, whatever happens."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ParamSpec, Protocol

from engine.runtime.base import EngineInfo
from stream.capture import CapturePool
from stream.config import Config
from stream.frame import StreamKey
from stream.journal import Journal
from stream.logs import fields
from stream.memory import Trimmer
from stream.monitor import Monitor
from stream.plan import Plan, with_uri
from stream.publish import Publisher
from stream.recognition import Recognition
from stream.reload import Reloader, ReloadRequest
from stream.result import Recognized
from stream.roster import ZonePlan
from stream.scheduler import SkipReason
from stream.service import Service
from stream.snapshot import Parts, summary
from stream.watchdog import Watchdog
from stream.wire import EventMessage

P = ParamSpec("P")

_log = logging.getLogger(__name__)


class Display(Protocol):
    """Something that shows the running service."""

    def showing(self, service: Service, header: str) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Gives what is to be called at every turn of the service's loop."""


def serve(
    config: Config,
    plan: Plan,
    stop: threading.Event,
    on_events: Callable[[Sequence[EventMessage]], None],
    display: Display | None = None,
    on_ready: Callable[[Publisher], None] = lambda publisher: None,
    reload: tuple[Callable[[], Config], ReloadRequest] | None = None,
    *,
    on_window: Callable[[Recognized, float], None] = lambda recognized, latency_s: None,
    on_skip: Callable[[StreamKey, SkipReason], None] = lambda stream, reason: None,
    on_turn: Callable[[Service], None] = lambda service: None,
) -> bool:
    """True when every camera did its work, or `stop` was set; False when one failed for good.

    on_events: called with events that were published, those too that a killed run had left open. on_ready: called
    when the sockets are open and before the first camera starts. reload: how to read the configuration again, and
    whether that is asked for. on_window, on_skip: see Service. on_turn: called at every turn of its loop. Raises what
    the parts raise.
    """
    with contextlib.ExitStack() as stack:
        # Whatever cannot be had is found out before anything is published.
        watchdog = stack.enter_context(contextlib.closing(Watchdog()))
        monitor = stack.enter_context(Monitor(config.metrics.address)) if config.metrics.address else None
        if monitor is not None:
            _log.info(fields("metrics and health", address=monitor.url))
            on_events, on_window = _each(on_events, monitor.events), _each(on_window, monitor.window)
        capture = stack.enter_context(CapturePool(config.capture.workers, config.capture.connects_per_s))
        recognition = Recognition(capture, plan.engines, config.engine.max_batch)
        stack.callback(recognition.stop)
        engines = {name: engine.info for name, engine in recognition.start().items()}
        if stop.is_set():
            return True
        models = {zone.engine: zone for camera in plan.cameras for zone in camera.zones}
        for name, info in engines.items():
            _log_engine(models[name], info)
        journal = Journal(
            config.journal.path, retention=config.journal.retention, move_aside=config.journal.move_aside_damaged
        )
        stack.callback(journal.close)
        publisher = Publisher(
            journal,
            address=config.publish.address,
            replay=config.replay_address,
            curve=config.security.curve,
            allow_plaintext=config.security.allow_plaintext,
            queue=config.publish.queue,
            max_events=config.replay.max_events,
        )
        stack.callback(publisher.close)
        _log.info(fields("publishing", events=publisher.address, replay=publisher.replay, journal=str(journal.path)))
        if journal.recovered:
            on_events(journal.recovered)
        urls = {name: stack.enter_context(demo).url for name, demo in plan.demos.items()}
        cameras = [with_uri(c, urls[c.task.name]) if c.task.name in urls else c for c in plan.cameras]
        service = Service(
            cameras,
            capture,
            recognition,
            publisher,
            on_events,
            note=_note(engines.values()),
            on_window=on_window,
            on_skip=on_skip,
        )
        parts = Parts(service, recognition, capture, publisher, journal)
        on_ready(publisher)
        header = f"{_summary(models, engines)}; events at {publisher.address}; Ctrl-C ends"
        showing = display.showing(service, header) if display else contextlib.nullcontext(lambda: None)
        reloader = None
        if reload is not None:
            load, requested = reload
            reloader = Reloader(load, _telling(requested, watchdog.reloading), config, plan, recognition, urls)
        trimmer = Trimmer()
        stack.callback(watchdog.stopping)
        if monitor is not None:
            stack.callback(monitor.health.stopping)
        with showing as show:
            watchdog.ready()

            def turn() -> None:
                show()
                on_turn(service)
                if reloader is not None:
                    reloader.turn(service)
                    if not reloader.pending:
                        watchdog.reloaded()
                if monitor is not None:
                    monitor.turn(parts, busy=reloader is not None and reloader.pending)
                watchdog.turn(lambda: summary(service))
                trimmer.turn()

            return service.run(stop, turn)


def _each(*calls: Callable[P, None]) -> Callable[P, None]:
    """Call all of them."""

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        for one in calls:
            one(*args, **kwargs)

    return call


def _telling(requested: ReloadRequest, tell: Callable[[], None]) -> ReloadRequest:
    """The same request, of which somebody is told."""

    def asked() -> bool:
        if not requested():
            return False
        tell()
        return True

    return asked


def _log_engine(model: ZonePlan, info: EngineInfo) -> None:
    _log.info(
        fields(
            "engine",
            model=model.engine,
            version=model.spec.version,
            fingerprint=model.version,
            kind=info.kind,
            precision=info.precision,
            device=info.device,
        )
    )
    if info.reason:
        _log.info(fields("the engine is not the first choice", model=model.engine, kind=info.kind, reason=info.reason))


def _summary(models: Mapping[str, ZonePlan], engines: Mapping[str, EngineInfo]) -> str:
    """`movements 1.0 (3f9c0a1b2c3d) on openvino fp32` for each model."""
    return ", ".join(
        f"{models[name].spec.name} {models[name].spec.version} ({models[name].version}) on {info.kind} {info.precision}"
        for name, info in engines.items()
    )


def _note(engines: Iterable[EngineInfo]) -> str:
    """For the cameras' statuses: why an engine had to do that is not the first choice."""
    return "; ".join(
        dict.fromkeys(f"recognized by {info.kind} {info.precision}: {info.reason}" for info in engines if info.reason)
    )
