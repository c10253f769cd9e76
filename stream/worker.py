"""The capture worker: a process that serves several cameras for the core.

`stream.capture.CapturePool` starts it and talks to it over a socket. It is a fresh interpreter, not a fork, which
GStreamer would not survive, and it imports neither the engine nor the program's main module: it is up in a quarter
of a second.

When the core is gone, however it went, the socket says so and the worker exits. Ctrl-C and SIGTERM reach the
whole process group; the worker leaves them to the core, which ends its events first. A worker whose main thread
is stuck, a Python lock held by some decoder for example, is ended by a watchdog that needs no Python lock.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from functools import partial
from typing import NoReturn

import cv2

from stream.camera import Camera
from stream.channel import Channel, ChannelClosed
from stream.frame import StreamKey
from stream.messages import (
    AddCameras,
    CameraCounters,
    CameraTask,
    EpochEnd,
    Message,
    RemoveCamera,
    RingPlace,
    SetBudget,
    StopWorker,
    WindowReady,
    WorkerAlive,
    WorkerLog,
)
from stream.pulse import BEAT_S, HEART_BYTES, Heart
from stream.reconnect import LEAST_BUDGET, ReconnectBudget
from stream.ring import RingShape, RingWriter, SharedBlock
from stream.sampler import phase_of
from stream.tap import Tap

STUCK_S = 20
STOP_S = 3.0
"""How long cameras get to close their connections. A worker with one that does not is of no more use."""

_BACKLOG = 1000
_DROPPABLE = (WindowReady, CameraCounters, WorkerAlive, WorkerLog)


_log = logging.getLogger(__name__)


class Outbox:
    """Messages on their way to the core. Cameras never wait for the core: a thread does the sending.

    While the core does not read, what it can do without is dropped beyond a thousand messages: pictures of live
    cameras, which will be overwritten, and counters that come again. The rest may grow to ten thousand; a core that
    has not read for that long is taken for dead.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._messages: deque[Message] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self.broken = False
        self._thread = threading.Thread(target=self._send, name="outbox", daemon=True)
        self._thread.start()

    def tell(self, message: Message, *, lossless: bool = False) -> None:
        """lossless: not to be dropped, because its sender waits until the core has taken it."""
        with self._changed:
            if len(self._messages) >= _BACKLOG and isinstance(message, _DROPPABLE) and not lossless:
                return
            self._messages.append(message)
            self.broken = self.broken or len(self._messages) >= 10 * _BACKLOG
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Send what is left."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _send(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._messages or self._closing)
                if not self._messages:
                    return
                message = self._messages.popleft()
            try:
                self._channel.send(message)
            except ChannelClosed:
                self.broken = True
                return


class _LogHandler(logging.Handler):
    """Hands log records to the core, whose log has a format and a place."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        self._outbox.tell(WorkerLog(record.levelno, record.name, self.format(record)))


class Worker:
    """Carries out the core's commands until it is told to stop or the core is gone."""

    def __init__(self, channel: Channel, heart: Heart) -> None:
        self._channel = channel
        self._heart = heart
        self._outbox = Outbox(channel)
        self._cameras: dict[str, Camera] = {}
        self._leaving: list[tuple[Camera, float]] = []  # told to end, and by when
        self._budget = ReconnectBudget(LEAST_BUDGET)
        logging.getLogger("stream").addHandler(_LogHandler(self._outbox))

    def run(self) -> None:
        beat_s = report_s = time.monotonic()
        try:
            while not self._outbox.broken:
                faulthandler.dump_traceback_later(STUCK_S, exit=True)
                if self._channel.wait(beat_s - time.monotonic()) and not self._obey():
                    break
                self._leaving = [(camera, by_s) for camera, by_s in self._leaving if not camera.ended]
                if stuck := [camera.task.name for camera, by_s in self._leaving if time.monotonic() > by_s]:
                    _log.error("cameras %s do not end: this process does", ", ".join(stuck))
                    break
                now_s = time.monotonic()
                # In step with the clock, but no volley after a delay.
                if now_s >= beat_s:
                    beat_s = max(beat_s + BEAT_S, now_s)
                    self._heart.beat()
                if now_s >= report_s:
                    report_s = max(report_s + 1.0, now_s)
                    self._report()
        finally:
            faulthandler.dump_traceback_later(STUCK_S, exit=True)
            self._stop("shutdown")
            self._outbox.close(1.0)

    def _obey(self) -> bool:
        """Carry out the commands that have come; False once the worker is to end."""
        try:
            commands = self._channel.receive()
        except ChannelClosed:
            return False
        for command in commands:
            match command:
                case AddCameras():
                    self._add(command)
                case RemoveCamera(camera=name, reason=reason):
                    if (camera := self._cameras.pop(name, None)) is not None:
                        camera.stop(reason)
                        self._leaving.append((camera, time.monotonic() + STOP_S))
                case SetBudget(connects_per_s=connects_per_s):
                    self._budget.connects_per_s = connects_per_s
                case StopWorker():
                    return False
        return True

    def _add(self, command: AddCameras) -> None:
        block = SharedBlock(self._channel.descriptor(), command.nbytes)
        block.close_descriptor()
        for task, places, epoch in zip(command.cameras, command.rings, command.first_epochs, strict=True):
            self._start(task, places, block, command.block, epoch)

    def _start(
        self, task: CameraTask, places: tuple[RingPlace, ...], memory: SharedBlock, block: int, epoch: int
    ) -> None:
        camera = Camera(task, self._outbox.tell, self._budget)
        live = task.uri.live
        taps = []
        for zone, place in zip(task.zones, places, strict=True):
            shape = RingShape(place.capacity, zone.height, zone.width)
            taps.append(
                Tap(
                    StreamKey(task.name, zone.name),
                    zone,
                    RingWriter(memory, place.offset, shape),
                    block=block,
                    first_epoch=epoch,
                    phase=phase_of(task.name) if live else None,
                    tell=partial(self._outbox.tell, lossless=not live),
                    pause=None if live else camera.pause,
                )
            )
        self._cameras[task.name] = camera
        camera.start(taps)

    def _stop(self, reason: EpochEnd) -> None:
        for camera in self._cameras.values():
            camera.stop(reason)
        deadline_s = time.monotonic() + STOP_S
        for camera in self._cameras.values():
            camera.join(max(0.0, deadline_s - time.monotonic()))
        self._cameras.clear()

    def _report(self) -> None:
        for name, camera in list(self._cameras.items()):
            if camera.ended:
                camera.give_up()
                del self._cameras[name]
            else:
                self._outbox.tell(camera.counters())
        self._outbox.tell(WorkerAlive(os.getpid(), time.process_time()))


def main(descriptor: int, heart: int) -> NoReturn:
    """Serve the core at the other end of this socket, and exit. heart: the descriptor of its shared memory."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # asked by the core of a worker that is stuck: where is it?
    cv2.setNumThreads(1)  # parallelism is across cameras
    os.set_inheritable(descriptor, False)
    beating = SharedBlock(heart, HEART_BYTES)
    beating.close_descriptor()
    code = 1
    try:
        Worker(Channel(socket.socket(fileno=descriptor)), Heart(beating)).run()
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        # Cameras that would not close in time, and GStreamer's own threads, end here with the process.
        sys.stderr.flush()
        os._exit(code)
