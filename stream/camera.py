"""Camera: the life of one camera in a capture worker. Connect, hand every frame to the taps, say how it is, reconnect.

One thread runs it. GStreamer decodes in threads of its own and both it and OpenCV let go of Python's lock, so
the cameras of a worker share little more than that lock.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing

from stream.delivery import DeliveryWatch, FreezeWatch
from stream.failure import EndOfStream, ErrorClass, SourceError
from stream.frame import ClockSource, Frame
from stream.messages import (
    CameraCounters,
    CameraFinished,
    CameraState,
    CameraStatus,
    CameraTask,
    EpochEnd,
    Message,
    ZoneTask,
)
from stream.receiver import SourceOptions
from stream.reconnect import Backoff, ReconnectBudget
from stream.source import Source
from stream.tap import Stopped, Tap
from stream.zone import ZoneError

READ_S = 0.25
"""How long a read waits: within this time a camera notices that it is to stop."""

_log = logging.getLogger(__name__)


class Camera:
    """Runs until its file is read, it fails for good, or it is stopped.

    tell: takes what the core is to know. budget: over this and other cameras; a live one waits for its turn.
    """

    def __init__(self, task: CameraTask, tell: Callable[[Message], None], budget: ReconnectBudget) -> None:
        self.task = task
        self._tell = tell
        self._taps: Sequence[Tap] = ()
        self._budget = budget
        self._stopping = threading.Event()
        self._stop_reason: EpochEnd = "shutdown"
        self._backoff = Backoff(random.Random().uniform)
        self._rate_hz = max(zone.rate_hz for zone in task.zones)
        self._delivery = DeliveryWatch(self._rate_hz)
        self._status: CameraStatus | None = None
        self._finished = False
        self._decoded = 0
        self._connections = 0  # that gave a frame
        self._unread = 0  # decoded, and dropped because this thread was late
        self._clock = ClockSource.ARRIVAL
        self._lags_ns: list[int] = []  # from PTS to arrival, since the counters were last asked for
        self._counted = (time.monotonic(), 0)
        self._thread = threading.Thread(target=self._run, name=task.name, daemon=True)

    def start(self, taps: Sequence[Tap]) -> None:
        self._taps = taps
        self._thread.start()

    def stop(self, reason: EpochEnd) -> None:
        """Ask it to end; `join` waits for it."""
        self._stop_reason = reason
        self._stopping.set()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def pause(self, seconds: float) -> None:
        """Wait. Raises Stopped as soon as the camera is to stop."""
        if self._stopping.wait(seconds):
            raise Stopped

    def counters(self) -> CameraCounters:
        """The counters, with the frame rate since the call before. Called from another thread than the camera's."""
        now_s, decoded = time.monotonic(), self._decoded
        before_s, before = self._counted
        self._counted = (now_s, decoded)
        counts = [tap.counts for tap in self._taps]
        dropped: Counter[str] = Counter()
        for count in counts:
            dropped.update({reason.value: n for reason, n in dict(count.dropped).items()})
        if self.task.uri.live:
            dropped["decoder_queue"] = self._unread
        lags_ns, self._lags_ns = self._lags_ns, []
        return CameraCounters(
            camera=self.task.name,
            decoded=decoded,
            sampled=sum(count.taken for count in counts),
            repeated=sum(count.repeated for count in counts),
            windows=sum(tap.windows for tap in self._taps),
            dropped=dict(dropped),
            fps=(decoded - before) / max(now_s - before_s, 1e-3),
            reconnects=max(0, self._connections - 1),
            clock=self._clock.value,
            jitter_ms=round(mean_deviation(lags_ns) / 1e6, 3) if self.task.uri.live else 0.0,
        )

    def _run(self) -> None:
        try:
            finished = self._capture()
        except Stopped:
            for tap in self._taps:
                tap.abandon(self._stop_reason)
            if self._stop_reason == "shutdown":
                return
            finished = CameraFinished(self.task.name, "removed")
        self._finish(finished)

    def give_up(self) -> None:
        """For a camera whose thread ended without a word: say that it failed. Otherwise does nothing."""
        if not self._finished:
            for tap in self._taps:
                tap.abandon("camera_lost")
            self._finish(self._fail(ErrorClass.PROTOCOL, "internal error: its thread has ended"))

    def _finish(self, finished: CameraFinished) -> None:
        self._finished = True
        self._tell(self.counters())  # the last ones, whole
        self._tell(finished)

    def _capture(self) -> CameraFinished:
        """Connection after connection. Raises Stopped."""
        state: CameraState = "connecting"
        while True:
            self._say(state)
            if self.task.uri.live:
                self.pause(self._budget.turn(time.monotonic()))
            try:
                self._connection()
            except EndOfStream:
                return CameraFinished(self.task.name, "eof")
            except ZoneError as error:
                return self._fail(None, str(error))
            except SourceError as error:
                trouble = error
            except Stopped:
                raise
            except Exception as error:  # noqa: BLE001  # logged, and told
                # A mistake of ours must not end the camera for good, and not without a word.
                _log.exception("camera %s: unexpected error", self.task.name)
                for tap in self._taps:
                    tap.abandon("camera_lost")
                trouble = SourceError(ErrorClass.PROTOCOL, f"internal error ({type(error).__name__})")
            if not self.task.uri.live:
                return self._fail(trouble.error_class, str(trouble))
            wait_s = self._backoff.failed(trouble.error_class)
            self._say("lost", trouble.error_class, str(trouble), wait_s)
            self.pause(wait_s)
            state = "reconnecting"

    def _connection(self) -> None:
        """From opening the source to its end, which is always one of _capture's exceptions."""
        task = self.task
        options = SourceOptions(
            transport=task.transport,
            latency_ms=task.latency_ms,
            timeout_s=task.timeout_s,
            tls_verify=task.tls_verify,
            tls_ca=task.tls_ca,
            max_size=enough(task.zones),
        )
        with closing(Source(task.uri, options)) as source:
            try:
                source.open()
                self._pump(source)
            except EndOfStream:
                for tap in self._taps:
                    tap.finish()
                raise
            except (SourceError, ZoneError):
                for tap in self._taps:
                    tap.cut("camera_lost")
                raise

    def _pump(self, source: Source) -> None:
        self._delivery = DeliveryWatch(self._rate_hz)
        freeze = FreezeWatch(self.task.timeout_s)
        unread, begun = self._unread, False
        self._lags_ns = []
        while True:
            frame = source.read(READ_S)
            if self._stopping.is_set():
                raise Stopped
            self._unread = unread + source.dropped
            if frame is not None:
                self._connections += not begun
                begun = True
                before = self._advanced()
                self._take(frame)
                advanced = self._advanced() > before
                if advanced:  # a camera that repeats itself is not healthy
                    self._backoff.frame(time.monotonic())
                if freeze.frame(advanced, frame.arrival_ns) and self.task.uri.live:
                    raise SourceError(
                        ErrorClass.TIMEOUT,
                        f"{self.task.uri}: its clock has stood still for {self.task.timeout_s:g} s, frame after frame",
                    )

    def _advanced(self) -> int:
        return sum(tap.counts.advanced for tap in self._taps)

    def _take(self, frame: Frame) -> None:
        self._decoded += 1
        self._clock = frame.clock
        self._lags_ns.append(frame.arrival_ns - frame.pts_ns)
        for tap in self._taps:
            tap.frame(frame)
        if self._delivery.frame(frame.pts_ns):
            if self._status is None or self._status.state != "degraded":
                self._say("degraded", text=f"{self._delivery.fps:.1f} fps, and the model needs {self._rate_hz:g}")
        else:
            self._say("live")

    def _fail(self, error: ErrorClass | None, text: str) -> CameraFinished:
        self._say("failed", error, text)
        return CameraFinished(self.task.name, "failed", text)

    def _say(
        self,
        state: CameraState,
        error: ErrorClass | None = None,
        text: str = "",
        next_try_s: float | None = None,
    ) -> None:
        status = CameraStatus(self.task.name, state, error, text, next_try_s)
        if status != self._status:
            self._status = status
            self._tell(status)


def mean_deviation(values: Sequence[int]) -> float:
    """The mean absolute deviation of values from their mean; 0 of none."""
    if not values:
        return 0.0
    mean = sum(values) / len(values)
    return sum(abs(value - mean) for value in values) / len(values)


def enough(zones: Sequence[ZoneTask]) -> tuple[int, int] | None:
    """The size (width, height) of a camera's picture that has all the detail every zone needs; None: all there is."""
    if any(task.zone.unit == "pixel" for task in zones):
        return None
    width = max(math.ceil(task.width / task.zone.width) for task in zones)
    height = max(math.ceil(task.height / task.zone.height) for task in zones)
    return width + width % 2, height + height % 2
