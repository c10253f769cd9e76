"""ClipSampler: which frames of a camera the network sees, decided by their PTS alone.

Tick k of an epoch lies at t0 + k/rate. A frame belongs to the tick it is nearest to, within half a tick
(half open: [-1/2, +1/2)), and of the frames of one tick the nearest is taken. So a 12 fps and a 30 fps
camera give the network the same motion. What can go wrong has one defined result each:

    a tick without a frame, up to two in a row     the last picture is repeated (its flow is zero)
    more than two in a row                         gap: a new epoch begins with the frame after it
    PTS behind the newest one, by a tick at most   the frame is dropped as late
    PTS behind by more (the clock was set back)    gap: a new epoch begins with that frame
    PTS equal to the newest one                    the frame is dropped as a duplicate

The sampler sees only times. Its caller keeps the frame it took last and at most one more, the *held* one: the
best so far for a tick whose time has not come yet. Arithmetic is in whole numbers: a month-long epoch does not
drift.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from stream.frame import NS_PER_S

MAX_REPEATS = 2


class GapReason(StrEnum):
    """Why time was not continuous and a new epoch began."""

    FORWARD = "forward"
    BACKWARD = "backward"


class DropReason(StrEnum):
    """Why the network will not see a frame."""

    NOT_SAMPLED = "not_sampled"  # the camera is faster than the model: normal
    PHASE = "phase"  # before the first window of an epoch begins
    LATE = "late"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Take:
    """A frame is the picture of this tick: the held frame (which is held no longer), or the one offered."""

    tick: int
    held: bool


@dataclass(frozen=True, slots=True)
class Repeat:
    """No frame came for this tick: it has the frame of the tick before, and that frame's PTS.

    So a caller also keeps the frame it took last (the small picture is not enough where the tick before was
    scaled without chroma and this one needs it).
    """

    tick: int


@dataclass(frozen=True, slots=True)
class Gap:
    """The epoch ends; ticks count from 0 again."""

    reason: GapReason


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the offered frame, in place of the one held until now, if any."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The offered frame is not needed. (A held frame that a nearer one replaces is dropped by Hold or Take.)"""

    reason: DropReason


Action = Take | Repeat | Gap | Hold | Drop


@dataclass(slots=True)
class SampleCounts:
    """What became of the frames offered so far. Every frame but the held one is in `taken` or `dropped`."""

    offered: int = 0
    taken: int = 0
    repeated: int = 0
    gaps: Counter[GapReason] = field(default_factory=Counter)
    dropped: Counter[DropReason] = field(default_factory=Counter)

    @property
    def advanced(self) -> int:
        """Frames with which time went on, whatever became of them: all but the late and the duplicates."""
        return self.offered - self.dropped[DropReason.LATE] - self.dropped[DropReason.DUPLICATE]


def phase_of(camera: str) -> float:
    """Where in a window's length this camera's windows begin, 0 <= phase < 1, the same in every process."""
    return int.from_bytes(hashlib.blake2b(camera.encode(), digest_size=4).digest()) / 2**32


class ClipSampler:
    """Turns the PTS of frames into actions on ticks. Pure: no clock, no pixels.

    rate_hz: ticks per second; ticks: per window, T; tick k is number k % T of window k // T of its epoch.
    phase: None begins an epoch at its first frame (files). A fraction of a window's length (live cameras,
    see phase_of) begins it at the next time of the PTS clock with that phase, so that many cameras do not
    have their windows fall due together.
    """

    def __init__(self, rate_hz: float, ticks: int, phase: float | None = None) -> None:
        if not rate_hz > 0 or ticks <= 0:
            raise ValueError(f"rate_hz {rate_hz} and ticks {ticks} must be above 0")
        rate = Fraction(rate_hz).limit_denominator(10_000)
        # Times are compared as pts * _rate against tick * _tick: whole numbers on both sides.
        self._rate = rate.numerator
        self._tick = rate.denominator * NS_PER_S
        self._window_ns = round(Fraction(ticks * self._tick, self._rate))
        self._phase_ns = None if phase is None else round(phase * self._window_ns)
        self._ticks = ticks
        self.epoch = 0
        self.counts = SampleCounts()
        self._t0: int | None = None
        self._newest = 0
        self._next = 0  # the first tick that is not final
        self._held: tuple[int, int] | None = None  # tick, offset of the held frame

    def offer(self, pts_ns: int) -> list[Action]:
        """A frame with this PTS has come: what is to be done, in this order."""
        self.counts.offered += 1
        actions: list[Action] = []
        if self._t0 is None:
            self._begin(pts_ns)
        elif pts_ns == self._newest:
            return self._drop(actions, DropReason.DUPLICATE)
        elif pts_ns < self._newest:
            if (self._newest - pts_ns) * self._rate <= self._tick:
                return self._drop(actions, DropReason.LATE)
            self._gap(actions, GapReason.BACKWARD, pts_ns)
        self._newest = pts_ns

        tick, offset = self._locate(pts_ns)
        if tick < 0:
            return self._drop(actions, DropReason.PHASE)
        if self._held is not None and self._held[0] < tick:
            self._take(actions, self._held[0], held=True)
        if tick < self._next:
            return self._drop(actions, DropReason.NOT_SAMPLED)
        if self._next == 0 and tick > 0:
            # Nothing to repeat yet: the epoch begins here instead, a little off its phase.
            self._t0, tick, offset = pts_ns, 0, 0
        elif tick - self._next > MAX_REPEATS:
            self._gap(actions, GapReason.FORWARD, pts_ns)
            tick, offset = self._locate(pts_ns)
            if tick < 0:
                return self._drop(actions, DropReason.PHASE)
        else:
            self._repeat_until(actions, tick)

        if offset < 0:
            self.counts.dropped[DropReason.NOT_SAMPLED] += self._held is not None
            self._held = tick, offset
            actions.append(Hold())
        elif self._held is not None and -self._held[1] <= offset:
            self._take(actions, tick, held=True)
            self._drop(actions, DropReason.NOT_SAMPLED)
        else:
            self.counts.dropped[DropReason.NOT_SAMPLED] += self._held is not None
            self._take(actions, tick, held=False)
        return actions

    def cut(self) -> list[Action]:
        """The stream changed (reconnected, another size): settle the held frame and begin a new epoch."""
        actions: list[Action] = []
        if self._t0 is not None:
            self._settle(actions)
            self.epoch += 1
            self._t0 = None
        return actions

    def finish(self) -> list[Action]:
        """The file is at its end: settle the held frame, and complete the last window if half of it is there."""
        actions: list[Action] = []
        self._settle(actions)
        filled = self._next % self._ticks
        if filled * 2 >= self._ticks:
            self._repeat_until(actions, self._next + self._ticks - filled)
        return actions

    def _locate(self, pts_ns: int) -> tuple[int, int]:
        """The tick whose bin holds this time, and the time's offset from it (in units of ns * _rate)."""
        assert self._t0 is not None
        since = (pts_ns - self._t0) * self._rate
        tick = (2 * since + self._tick) // (2 * self._tick)
        return tick, since - tick * self._tick

    def _begin(self, pts_ns: int) -> None:
        wait_ns = 0 if self._phase_ns is None else (self._phase_ns - pts_ns) % self._window_ns
        self._t0 = pts_ns + wait_ns
        self._next = 0
        self._held = None

    def _gap(self, actions: list[Action], reason: GapReason, pts_ns: int) -> None:
        self._settle(actions)
        self.epoch += 1
        self.counts.gaps[reason] += 1
        actions.append(Gap(reason))
        self._begin(pts_ns)

    def _settle(self, actions: list[Action]) -> None:
        """Nothing nearer can come for the held frame's tick."""
        if self._held is not None:
            self._take(actions, self._held[0], held=True)

    def _take(self, actions: list[Action], tick: int, held: bool) -> None:
        self.counts.taken += 1
        self._held = None
        self._next = tick + 1
        actions.append(Take(tick, held))

    def _repeat_until(self, actions: list[Action], tick: int) -> None:
        actions.extend(Repeat(missing) for missing in range(self._next, tick))
        self.counts.repeated += tick - self._next
        self._next = tick

    def _drop(self, actions: list[Action], reason: DropReason) -> list[Action]:
        self.counts.dropped[reason] += 1
        actions.append(Drop(reason))
        return actions
