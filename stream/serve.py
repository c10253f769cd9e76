"""Serve: build the service's parts, run it to its end, and take everything down again, whatever happens."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from engine.runtime.base import EngineInfo
from stream.capture import CapturePool
from stream.config import Config
from stream.journal import Journal
from stream.logs import fields
from stream.plan import Plan, with_uri
from stream.publish import Publisher
from stream.recognition import Recognition
from stream.reload import Reloader, ReloadRequest
from stream.service import Service, ZonePlan
from stream.wire import EventMessage

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
) -> bool:
    """True when every camera did its work, or `stop` was set; False when one failed for good.

    on_events: called with events that were published, those too that a killed run had left open. on_ready: called
    when the sockets are open and before the first camera starts. reload: how to read the configuration again, and
    whether that is asked for. Raises what the parts raise.
    """
    with contextlib.ExitStack() as stack:
        # Whatever cannot be had is found out before anything is published.
        capture = stack.enter_context(CapturePool(config.capture.workers, config.capture.connects_per_s))
        recognition = Recognition(capture, plan.engines)
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
        service = Service(cameras, capture, recognition, publisher, on_events, note=_note(engines.values()))
        on_ready(publisher)
        header = f"{_summary(models, engines)}; events at {publisher.address}; Ctrl-C ends"
        showing = display.showing(service, header) if display else contextlib.nullcontext(lambda: None)
        reloader = Reloader(*reload, config, plan, recognition, urls) if reload else None
        with showing as show:

            def on_turn() -> None:
                show()
                if reloader is not None:
                    reloader.turn(service)

            return service.run(stop, on_turn)


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
