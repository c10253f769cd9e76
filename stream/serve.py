"""Serve: build the service's parts, run it to its end, and take everything down again, whatever happens."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Sequence
from types import FrameType

from stream.capture import CapturePool
from stream.config import Config
from stream.demo.camera import DemoCamera
from stream.journal import Journal
from stream.live import Screen
from stream.logs import fields
from stream.plan import Plan, with_uri
from stream.publish import Publisher
from stream.recognition import Recognition
from stream.service import Service
from stream.wire import EventMessage

_log = logging.getLogger(__name__)


class Interrupted(Exception):
    """SIGINT or SIGTERM came before the service ran."""


class Stopper:
    """SIGINT and SIGTERM end the work in order, whenever they come. A context manager: restores the handlers.

    Before `service` is set, a signal raises Interrupted in the main thread, which unwinds what was begun.
    """

    def __init__(self) -> None:
        self.service: Service | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stopper:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.service is None:
            raise Interrupted
        self.service.stop()


def serve(
    config: Config,
    plan: Plan,
    on_events: Callable[[Sequence[EventMessage]], None],
    screen: Screen | None = None,
    on_ready: Callable[[Publisher], None] | None = None,
) -> bool:
    """True when every camera did its work, or the user ended it; False when one failed for good.

    on_ready: called when the sockets are open and before the first camera starts. Raises what the parts raise.
    """
    with contextlib.ExitStack() as stack, contextlib.suppress(Interrupted):
        stopper = stack.enter_context(Stopper())
        # Whatever cannot be had is found out before anything is published.
        capture = stack.enter_context(CapturePool(config.capture.workers))
        recognition = Recognition(capture, plan.engines)
        stack.callback(recognition.stop)
        engines = recognition.start()
        for name, engine in engines.items():
            _log.info(fields("engine", model=name, version=engine.spec.version, runs_on=str(engine.info)))
        journal = Journal(
            config.journal.path, retention=config.journal.retention, move_aside=config.journal.move_aside_damaged
        )
        stack.callback(journal.close)
        publisher = Publisher(
            journal,
            address=config.publish.address,
            replay=config.replay.address,
            curve=config.security.curve,
            allow_plaintext=config.security.allow_plaintext,
            queue=config.publish.queue,
            max_events=config.replay.max_events,
        )
        stack.callback(publisher.close)
        _log.info(fields("publishing", events=publisher.address, replay=publisher.replay, journal=str(journal.path)))
        cameras = list(plan.cameras)
        for i, camera in enumerate(cameras):
            if camera.task.uri.scheme == "demo":
                demo = stack.enter_context(DemoCamera.at(camera.task.uri.path))
                cameras[i] = with_uri(camera, demo.url)
        service = Service(cameras, capture, recognition, publisher, on_events)
        if on_ready is not None:
            on_ready(publisher)
        stopper.service = service
        header = f"{', '.join(str(e.info) for e in engines.values())}; events at {publisher.address}; Ctrl-C ends"
        with screen.showing(service, header) if screen else contextlib.nullcontext():
            return service.run()
    return True
