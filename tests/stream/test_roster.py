"""Roster: what a changed configuration does to cameras that run. With real workers, end to end: test_reload."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from engine.bundle import Bundle
from stream.config import Config
from stream.frame import StreamKey
from stream.messages import CameraFinished, CameraTask, WindowReady
from stream.plan import make_plan
from stream.roster import CameraPlan, Roster


class Told:
    """What capture, recognition and publisher were told, in one list."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def start(self, tasks: list[CameraTask]) -> None:
        self.calls += [("start", task.name) for task in tasks]

    def add(self, stream: StreamKey, engine: str, *, lossless: bool) -> None:
        self.calls.append(("add", stream.camera))

    def remove(self, *what: object) -> None:
        self.calls.append(("remove", what[0] if len(what) == 1 else what))

    def forget(self, camera: str) -> None:
        self.calls.append(("forget", camera))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def plan(motion_bundle: Bundle) -> CameraPlan:
    config = Config.from_cameras(["cam=rtsp://127.0.0.1:9/x"]).with_options(model=str(motion_bundle.path))
    return make_plan(config).cameras[0]


def roster(told: Told, plan: CameraPlan) -> Roster:
    made = Roster(cast(Any, told), cast(Any, told), cast(Any, told), lambda zone, changes: None)
    made.begin([plan])
    told.calls.clear()
    return made


def test_gating_is_turned_off_in_place(told: Told, plan: CameraPlan) -> None:
    """The window that is held back then is computed with the next."""
    running = roster(told, plan)
    zone = running.cameras["cam"].zones["full"]
    still = [WindowReady(StreamKey("cam", "full"), 0, index, 0, index, motion=0.0) for index in range(3)]
    assert [zone.gate.offer(window, may_rest=True).compute for window in still[:2]] == [(still[0],), ()]
    changed = replace(plan, zones=(replace(plan.zones[0], idle_gating=False),))
    assert running.apply([changed]) == {"rules": ["cam"]}
    assert running.cameras["cam"].zones["full"] is zone
    assert zone.gate.offer(still[2], may_rest=True).compute == (still[1], still[2])
    assert not told.calls
    assert running.apply([changed]) == {}


def test_a_camera_of_which_more_changed_begins_anew_when_it_has_ended(told: Told, plan: CameraPlan) -> None:
    running = roster(told, plan)
    changed = replace(plan, task=replace(plan.task, latency_ms=77))
    assert running.apply([changed]) == {"restarted": ["cam"]}
    assert told.calls == [("remove", ("cam", "reconfigured"))]
    camera = running.cameras["cam"]
    camera.finished = CameraFinished("cam", "removed")
    running.release(camera)
    assert told.calls[1:] == [
        ("remove", StreamKey("cam", "full")),
        ("forget", "cam"),
        ("add", "cam"),
        ("start", "cam"),
    ]
    assert running.cameras["cam"].plan == changed


def test_a_camera_that_is_gone_is_forgotten_when_its_last_window_is_settled(told: Told, plan: CameraPlan) -> None:
    running = roster(told, plan)
    camera = running.cameras["cam"]
    window = WindowReady(StreamKey("cam", "full"), 0, 0, 0, 0)
    camera.zones["full"].timeline.append(window)
    assert running.apply([]) == {"removed": ["cam"]}
    camera.finished = CameraFinished("cam", "removed")
    running.release(camera)
    assert "cam" in running.cameras
    camera.zones["full"].timeline.clear()
    running.release(camera)
    assert not running.cameras
    assert told.calls[-2:] == [("forget", "cam")] * 2  # capture, and the publisher
