"""Tap: one zone of a camera, from decoded frames to whole windows in a ring.

A tap samples, scales and stores; it says nothing about pictures to the core but where a complete window lies.
Only frames that the sampler finally takes are scaled, straight from the decoder's planes into the ring's memory.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from stream.frame import Frame, StreamKey
from stream.gate import MotionMeter
from stream.messages import EpochEnd, EpochEnded, WindowReady, ZoneTask
from stream.ring import RingWriter, TickTimes
from stream.sampler import Action, ClipSampler, Gap, Hold, Repeat, SampleCounts, Take
from stream.zone import ZoneScaler

ROOM_POLL_S = 0.004


class Stopped(Exception):
    """The tap was waiting for the reader when the camera was told to stop."""


class Tap:
    """Feed it every frame of the camera, in any order.

    phase: see ClipSampler. tell: takes what the core is to know. pause: waits that many seconds, or raises
    Stopped; None makes the tap overwrite the oldest rather than wait for the reader, and measure motion: what waits
    is a file, of which every window is computed.
    """

    def __init__(
        self,
        stream: StreamKey,
        task: ZoneTask,
        ring: RingWriter,
        *,
        block: int,
        first_epoch: int,
        phase: float | None,
        tell: Callable[[WindowReady | EpochEnded], None],
        pause: Callable[[float], None] | None,
    ) -> None:
        self.stream = stream
        self.epoch = first_epoch
        self.windows = 0
        self._task = task
        self._ring = ring
        self._block = block
        self._tell = tell
        self._pause = pause
        self._sampler = ClipSampler(task.rate_hz, task.ticks, phase)
        self._picture_ticks = frozenset(task.picture_ticks)
        self._scaler: ZoneScaler | None = None
        self._meter = MotionMeter(task.height, task.width) if pause is None else None
        self._held: Frame | None = None
        self._taken: Frame | None = None  # by the epoch's newest tick, for a repeated one
        self._last: TickTimes | None = None  # of the epoch's newest tick
        self._started = False  # the epoch has had a frame
        self._window_at = ring.position
        self._outstanding: deque[int] = deque()  # positions of told windows the reader has not released

    @property
    def counts(self) -> SampleCounts:
        return self._sampler.counts

    def frame(self, frame: Frame) -> None:
        """Take in a decoded frame. Raises ZoneError where the zone does not lie in it, and Stopped."""
        size = (frame.height, frame.width)
        if self._scaler is None or self._scaler.source != size:
            if self._scaler is not None:
                self.cut("reconfigured")
            self._scaler = ZoneScaler(self._task.zone, *size, self._task.height, self._task.width)
        actions = self._sampler.offer(frame.pts_ns)
        self._perform(actions, frame)
        self._started = True

    def cut(self, reason: EpochEnd) -> None:
        """The camera's time ends here; what comes next is a new epoch. Raises Stopped."""
        self._perform(self._sampler.cut())
        self._end(reason)

    def abandon(self, reason: EpochEnd) -> None:
        """As `cut`, but at once: a frame that is held is not written, and the reader is not waited for."""
        self._sampler.cut()
        self._end(reason)

    def finish(self) -> None:
        """The file is at its end: complete the last window if half of it is there. Raises Stopped."""
        self._perform(self._sampler.finish())
        self._end("eof")

    def _perform(self, actions: list[Action], frame: Frame | None = None) -> None:
        for action in actions:
            match action:
                case Take(tick=tick, held=held):
                    self._taken = self._held if held else frame
                    self._held = None
                    self._write(tick, repeated=False)
                case Repeat(tick=tick):
                    self._write(tick, repeated=True)
                case Hold():
                    self._held = frame
                case Gap():
                    self._end("gap")

    def _end(self, reason: EpochEnd) -> None:
        """Close the epoch, if it has begun. Ticks of a window that was not completed are forgotten."""
        self._held = self._taken = None
        self._window_at = self._ring.position
        if self._meter is not None:
            self._meter.reset()
        if self._started:
            pts_ns = None if self._last is None else self._last.pts_ns
            self._tell(EpochEnded(self.stream, self.epoch, reason, pts_ns))
            self.epoch += 1
        self._started = False
        self._last = None

    def _write(self, tick: int, repeated: bool) -> None:
        """One tick into the ring: the taken frame's zone.

        Also a repeated tick is scaled, not copied from the one before, which may have had no chroma.
        """
        self._wait_for_room()
        frame = self._taken
        assert frame is not None
        assert self._scaler is not None
        index, nth = divmod(tick, self._task.ticks)
        picture = self._ring.picture()
        self._scaler.scale(frame, picture, chroma=nth in self._picture_ticks)
        motion = math.inf if self._meter is None else self._meter.tick(picture[: self._task.height], nth)
        offset_ns = frame.utc_ns - frame.pts_ns
        self._last = TickTimes(self.epoch, tick, frame.pts_ns, frame.arrival_ns, offset_ns, frame.clock, repeated)
        position = self._ring.commit(self._last)
        if nth == self._task.ticks - 1:
            start = position + 1 - self._task.ticks
            self.windows += 1
            self._window_at = position + 1
            if self._pause is not None:
                self._outstanding.append(start)
            self._tell(WindowReady(self.stream, self.epoch, index, self._block, start, motion))

    def _wait_for_room(self) -> None:
        if self._pause is None:
            return
        while not self._ring.room(self._keep_from()):
            self._pause(ROOM_POLL_S)

    def _keep_from(self) -> int:
        """The oldest position still needed: of a told window, or of the one being filled."""
        consumed = self._ring.consumed
        while self._outstanding and self._outstanding[0] < consumed:
            self._outstanding.popleft()
        return self._outstanding[0] if self._outstanding else self._window_at
