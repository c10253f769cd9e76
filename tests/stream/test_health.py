"""Health: what it answers as the service starts, runs, hangs and ends. All by a clock of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.runtime.base import EngineInfo
from stream.health import ENGINE_STUCK_S, STUCK_S, Health
from stream.publish import PublisherStats
from stream.result import EngineStats
from stream.snapshot import CameraSnapshot, Snapshot


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


def camera(name: str, state: str, error: str | None = None, text: str = "") -> CameraSnapshot:
    return CameraSnapshot(name, state, error, text, None, ())


def snapshot(*cameras: CameraSnapshot, batches: int = 0, queued: int = 0) -> Snapshot:
    engine = EngineStats(
        batches=batches,
        windows=batches,
        busy_s=0.0,
        batch_sizes={1: batches},
        queued=queued,
        states=1,
        info=EngineInfo("openvino", "fp32", "CPU"),
    )
    return Snapshot(cameras, {"movements": engine}, 1, (), PublisherStats(), 0, Path("events.sqlite3"))


def test_it_lives_and_is_not_ready_while_it_starts(health: Health, clock: Clock) -> None:
    clock.now_s += 600  # an engine may take minutes to make
    assert health.alive().ok
    assert health.alive().body == {"alive": True, "why": "starting"}
    assert not health.ready().ok
    assert health.ready().body == {"ready": False, "why": "engines are being made and sockets opened", "cameras": {}}


def test_it_is_ready_once_every_camera_was_tried_and_stays_so(health: Health) -> None:
    health.turn()
    health.look(snapshot(camera("a", "live"), camera("b", "connecting"), camera("c", "connecting")))
    assert not health.ready().ok
    assert health.ready().body["why"] == "not tried yet: b, c"
    health.look(snapshot(camera("a", "live"), camera("b", "lost", "refused", "nothing listens there")))
    verdict = health.ready()
    assert verdict.ok
    assert verdict.body == {
        "ready": True,
        "why": None,
        "cameras": {
            "a": {"state": "live", "error": None, "why": None},
            "b": {"state": "lost", "error": "refused", "why": "nothing listens there"},
        },
    }
    health.look(snapshot(camera("a", "live"), camera("new", "connecting")))  # a reload added it
    assert health.ready().ok
    health.stopping()
    assert (health.ready().ok, health.ready().body["why"]) == (False, "stopping")


def test_a_main_loop_that_hangs(health: Health, clock: Clock) -> None:
    health.turn()
    health.look(snapshot(camera("a", "live")))
    clock.now_s += STUCK_S
    assert health.alive().ok
    clock.now_s += 1
    assert not health.alive().ok
    assert health.alive().body == {"alive": False, "why": "the main loop has not turned for 6 s"}
    assert health.ready().body["why"] == "the main loop has not turned for 6 s"
    health.turn()
    assert health.alive().ok
    clock.now_s += 100
    health.stopping()  # taking things down is no turning
    assert health.alive().ok


def test_an_engine_that_hangs(health: Health, clock: Clock) -> None:
    """While windows wait; not one that has nothing to do, nor while its thread makes another engine."""

    def minutes(batches: int, queued: int, busy: bool = False) -> str | None:
        for _ in range(round(2 * ENGINE_STUCK_S)):
            clock.now_s += 1
            health.turn()
            health.look(snapshot(camera("a", "live"), batches=batches, queued=queued), busy)
        why: str | None = health.alive().body["why"]
        return why

    assert minutes(7, queued=0) is None
    assert minutes(7, queued=3, busy=True) is None
    why = minutes(7, queued=3)
    assert why is not None
    assert why.startswith("windows wait, and the engine has computed none for 1")
    health.look(snapshot(camera("a", "live"), batches=8, queued=3))
    assert health.alive().ok
