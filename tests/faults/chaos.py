"""Chaos: what goes wrong in a soak, when, for how long, and how long until all is well again.

Everything is drawn from one seeded generator. A camera has one fault at a time; one of the cameras never has any.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from tests.capture_watch import workers_of
from tests.faults.world import World

SHORT_S = 120.0
"""A run of less is short."""
PATIENCE_S = 75.0
LONG_PATIENCE_S = 250.0  # a wrong password is tried again after one to three minutes, a missing stream within one

WORKER_DIED = "capture process"  # in a status: another fault's doing
LOST = frozenset({"eof", "refused", "timeout", "protocol"})

Act = Callable[[World, str, random.Random], None]


class Kind(NamedTuple):
    """One sort of fault.

    hold_s: how long it lasts, from and to; (0, 0): it is over at once. errors: error classes that a camera may be lost
    with. target: "camera", "server" (of several cameras), "worker" or "service". settle_s: it may be noticed so much
    later. patience_s: how long after it all must be well again. rare: recovery takes minutes, so not in a short run.
    """

    begin: Act
    end: Act
    hold_s: tuple[float, float] = (0.0, 0.0)
    errors: frozenset[str] = frozenset()
    target: str = "camera"
    settle_s: float = 1.5
    patience_s: float = PATIENCE_S
    rare: bool = False


def nothing(world: World, target: str, chance: random.Random) -> None:
    pass


def shut(**faults: object) -> Act:
    """From the next connection on; this one is broken."""

    def act(world: World, camera: str, chance: random.Random) -> None:
        world.server(camera).set(camera, **faults)
        world.server(camera).drop(camera)

    return act


def wrong(**faults: object) -> Act:
    """At once. A value may be a pair: then it is drawn from between."""

    def act(world: World, camera: str, chance: random.Random) -> None:
        drawn = {name: chance.uniform(*v) if isinstance(v, tuple) else v for name, v in faults.items()}
        world.server(camera).set(camera, **drawn)

    return act


def _jump(world: World, camera: str, chance: random.Random) -> None:
    world.server(camera).jump(camera, chance.choice([-1, 1]) * chance.choice([0.4, 3.0, 60.0, 7200.0]))


def _signal_worker(number: signal.Signals) -> Act:
    def act(world: World, worker: str, chance: random.Random) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(worker), number)

    return act


def _lock(world: World, camera: str, chance: random.Random) -> None:
    shut(password="another")(world, camera, chance)


WELL_AGAIN = {"refuse": "", "hang": "", "loss": 0, "garbage": 0, "alien": 0, "held": False, "mute": False}
WELL_AGAIN |= {"frozen": False, "fps": None, "film": 0, "wrap_s": None, "reports": True}
mend = wrong(**WELL_AGAIN)

KINDS = {
    "refused": Kind(shut(refuse="connection"), mend, (1, 12), LOST),
    "busy (503)": Kind(shut(refuse="503"), mend, (1, 8), LOST),
    "unknown (404)": Kind(
        shut(refuse="404"), mend, (1, 6), LOST | {"not_found"}, patience_s=LONG_PATIENCE_S, rare=True
    ),
    "hangs on connect": Kind(shut(hang="connect"), mend, (3, 8), LOST),
    "hangs after DESCRIBE": Kind(shut(hang="DESCRIBE"), mend, (3, 8), LOST),
    "hangs after SETUP": Kind(shut(hang="SETUP"), mend, (3, 8), LOST),
    "hangs after PLAY": Kind(shut(hang="PLAY"), mend, (3, 8), LOST),
    "drops packets": Kind(wrong(loss=(0.01, 0.3)), mend, (3, 10), LOST | {"codec"}),
    "stalls, then bursts": Kind(wrong(held=True), mend, (0.3, 1.5)),
    "stalls too long": Kind(wrong(held=True), mend, (4, 8), LOST),
    "mute": Kind(wrong(mute=True), mend, (4, 10), LOST),
    "PTS jumps": Kind(_jump, nothing, errors=frozenset({"timeout"})),
    "timestamps wrap": Kind(shut(wrap_s=4.0), mend, (5, 6), LOST),
    "other size": Kind(wrong(film=1), mend, (2, 10)),
    "garbage NAL units": Kind(wrong(garbage=(0.05, 0.4)), mend, (2, 6), LOST | {"codec"}, patience_s=LONG_PATIENCE_S),
    "unknown NAL units": Kind(wrong(alien=0.2), mend, (1, 3), LOST | {"codec"}, patience_s=LONG_PATIENCE_S, rare=True),
    "closes mid-frame": Kind(lambda w, c, _: w.server(c).cut(c), nothing, errors=LOST),
    "connection reset": Kind(lambda w, c, _: w.server(c).drop(c), nothing, errors=LOST),
    "floods": Kind(wrong(fps=(150, 350)), mend, (2, 6), LOST),
    "repeats one timestamp": Kind(wrong(frozen=True), mend, (4, 8), LOST),
    "clock steps": Kind(wrong(clock_offset_s=(-7200, 7200)), nothing),
    "no sender reports": Kind(wrong(reports=False), mend, (3, 8)),
    "wrong password": Kind(
        _lock,
        lambda w, c, _: w.server(c).set(c, password=w.password),
        (3, 20),
        LOST | {"auth"},
        patience_s=LONG_PATIENCE_S,
        rare=True,
    ),
    "server dies": Kind(
        lambda w, s, _: w.servers[int(s)].kill(), lambda w, s, _: w.revive(int(s)), (1, 10), LOST, target="server"
    ),
    "worker killed": Kind(_signal_worker(signal.SIGKILL), nothing, errors=LOST, target="worker"),
    "worker stopped": Kind(_signal_worker(signal.SIGSTOP), nothing, errors=LOST, target="worker", settle_s=10.0),
    "removed and added": Kind(lambda w, c, _: w.remove(c), lambda w, c, _: w.add(c), (2, 8), LOST),
    "reconfigured": Kind(lambda w, c, _: w.retime(c), nothing, errors=LOST),
    "zone added and removed": Kind(lambda w, c, _: w.add_zone(c), lambda w, c, _: w.remove_zone(c), (3, 10), LOST),
    "rules changed": Kind(lambda w, _, chance: w.change_rules(chance), nothing, target="service"),
    "bad edit": Kind(lambda w, _, chance: w.edit_badly(chance), nothing, target="service"),
    "disk full": Kind(lambda w, *_: w.fill_disk(), lambda w, *_: w.free_disk(), (3, 10), target="service"),
}


@dataclass
class Fault:
    """One that happened. lost: a camera went down by it; recovery_s: from its end until all were live again."""

    kind: str
    target: str
    cameras: tuple[str, ...]
    begun_s: float
    until_s: float
    ended_s: float | None = None
    lost: bool = False
    recovery_s: float | None = None


@dataclass
class Chaos:
    """Turn it often. every_s: how often something new begins, on average. kinds: what is drawn from."""

    world: World
    chance: random.Random
    every_s: float
    kinds: list[str]
    done: list[Fault] = field(default_factory=list)
    active: list[Fault] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _next_s: float = 0.0
    _bag: list[str] = field(default_factory=list)

    def turn(self, *, begin: bool = True) -> None:
        """begin False: only go on with what has begun."""
        now_s = time.monotonic()
        for fault in self.active[:]:
            if fault.ended_s is None and now_s >= fault.until_s:
                self._act(KINDS[fault.kind].end, fault.kind, fault.target)
                # What is over at once was over when it began.
                fault.ended_s = fault.begun_s if KINDS[fault.kind].hold_s == (0.0, 0.0) else time.monotonic()
            if fault.ended_s is not None and now_s >= fault.until_s + KINDS[fault.kind].settle_s:
                self._look(fault, now_s)
        if begin and now_s >= self._next_s:
            self._next_s = now_s + self.chance.expovariate(1 / self.every_s)
            self._begin()

    def _begin(self) -> None:
        if not self._bag:  # every kind comes before any comes again
            self._bag = self.chance.sample(self.kinds, len(self.kinds))
        for name in reversed(self._bag):  # one that finds everything taken has to wait
            kind = KINDS[name]
            target, cameras = self._target(kind.target)
            if target is not None:
                self._bag.remove(name)
                break
        else:
            return
        begun_s = time.monotonic()
        self._act(kind.begin, name, target)
        hold_s = self.chance.uniform(*kind.hold_s)
        self.active.append(Fault(name, target, cameras, begun_s, time.monotonic() + hold_s))

    def _act(self, act: Act, name: str, target: str) -> None:
        try:
            act(self.world, target, self.chance)
        except AssertionError as error:  # the service did not do as it was told; go on, there is more to see
            self.violations.append(f"{name}: {error}")

    def _target(self, what: str) -> tuple[str | None, tuple[str, ...]]:
        busy = {camera for fault in self.active for camera in fault.cameras}
        free = [camera for camera in self.world.frail if camera not in busy]
        if what == "camera":
            camera = self.chance.choice(free) if len(free) > 1 else None
            return camera, (camera,) if camera else ()
        if any(KINDS[fault.kind].target == what for fault in self.active):
            return None, ()
        if what == "server":
            number = len(self.world.servers) - 1
            cameras = tuple(self.world.servers[number].cameras)
            return (str(number) if busy.isdisjoint(cameras) else None), cameras
        if what == "worker":
            workers = [w for w in workers_of(self.world.pid) if w.status() != psutil.STATUS_ZOMBIE]
            cameras = tuple(camera for camera in self.world.configured() if camera not in busy)
            return (str(self.chance.choice(workers).pid) if workers else None), cameras
        return "service", ()

    def _look(self, fault: Fault, now_s: float) -> None:
        """Is it all well again? Or was something wrong that should not have been, or too long?"""
        assert fault.ended_s is not None
        kind = KINDS[fault.kind]
        recovered_s = fault.ended_s
        for camera in fault.cameras:
            told = self.world.follower.since(camera, fault.begun_s)
            for status in (t.status for t in told):
                fault.lost |= status.state == "lost"
                if status.error not in {None, *kind.errors} and WORKER_DIED not in (status.message or ""):
                    text = f"{fault.kind}: camera {camera} is {status.state} with {status.error}: {status.message}"
                    if text not in self.violations:
                        self.violations.append(text)
            latest = self.world.follower.latest()[camera]
            if latest.state not in {"live", "degraded"}:
                if now_s - fault.ended_s > kind.patience_s:
                    self.violations.append(f"{fault.kind}: camera {camera} is not back in {kind.patience_s:g} s")
                    self._close(fault)
                return
            down = [n for n, t in enumerate(told) if t.status.state not in {"live", "degraded"}]
            if down:
                recovered_s = max(recovered_s, told[down[-1] + 1].at_s)
        if kind.target == "worker" and not self.world.service.said(f"capture process {fault.target} died"):
            self.violations.append(f"{fault.kind}: not noticed in {kind.settle_s:g} s")
        fault.recovery_s = recovered_s - fault.ended_s
        self._close(fault)

    def _close(self, fault: Fault) -> None:
        self.active.remove(fault)
        self.done.append(fault)
