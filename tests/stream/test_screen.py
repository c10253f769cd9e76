"""What people see: the table and event lines."""

from __future__ import annotations

import io
from datetime import datetime

import numpy as np
from rich.console import Console, RenderableType

from engine.bundle import Bundle
from stream.config import Config
from stream.event_machine import Step
from stream.failure import ErrorClass
from stream.frame import StreamKey
from stream.messages import CameraCounters, CameraFinished, CameraState, CameraStatus, WindowReady
from stream.plan import make_plan
from stream.roster import CameraState as Known
from stream.roster import _camera_state
from stream.screen import camera_table, event_text, local_time, with_recent
from stream.wire import EventMessage, Latency, ModelRef, PtsSpan


def cameras(bundle: Bundle, *names: str) -> dict[str, Known]:
    config = Config.from_cameras([f"{name}=x.mp4" for name in names]).with_options(model=str(bundle.path))
    return {plan.task.name: _camera_state(plan) for plan in make_plan(config).cameras}


def drawn(picture: RenderableType, width: int = 140) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(picture)
    return out.getvalue()


def status(name: str, state: CameraState, error: ErrorClass | None = None) -> CameraStatus:
    return CameraStatus(name, state, error)


def test_a_camera_that_is_well(motion_bundle: Bundle) -> None:
    known = cameras(motion_bundle, "door")
    known["door"].status = status("door", "live")
    dropped = {"not_sampled": 500, "late": 3}
    known["door"].counters = CameraCounters("door", 1234, 617, 0, 51, dropped, 14.96)
    zone = known["door"].zones["full"]
    zone.latency_ms = 41.6
    zone.skipped["backlog"] = 2
    zone.machine.advance([Step(0, 300_000_000, np.array([0.87, 0.01], np.float32))])
    text = drawn(camera_table(known, "openvino fp32"))
    row = next(line for line in text.splitlines() if "door" in line)
    assert "openvino fp32" in text
    for word in ("full", "live", "15.0", "1,234", "617", "3", "2", "42 ms", "move 0.87"):
        assert word in row
    assert "500" not in row  # frames that the model's rate leaves out are no fault


def test_a_zone_at_rest(motion_bundle: Bundle) -> None:
    """That windows are idle is no fault, and what was seen before it no news."""
    known = cameras(motion_bundle, "door")
    zone = known["door"].zones["full"]
    zone.machine.advance([Step(0, 300_000_000, np.array([0.07, 0.01], np.float32))])
    zone.skipped["idle"] = 4321
    for index in range(2):
        zone.gate.offer(WindowReady(StreamKey("door", "full"), 0, index, 0, index, motion=0.0), may_rest=True)
    text = drawn(camera_table(known, ""))
    assert "nothing moves" in text
    assert "4,321" not in text
    assert "0.07" not in text


def test_a_camera_that_has_said_nothing_yet(motion_bundle: Bundle) -> None:
    assert "connecting" in drawn(camera_table(cameras(motion_bundle, "door"), ""))


def test_a_camera_in_trouble_and_one_that_ended(motion_bundle: Bundle) -> None:
    known = cameras(motion_bundle, "door", "film")
    known["door"].status = status("door", "lost", ErrorClass.AUTH)
    known["film"].status = status("film", "live")
    known["film"].finished = CameraFinished("film", "eof")
    text = drawn(camera_table(known, ""))
    assert "lost auth" in text
    assert "ended" in text


def test_where_there_are_too_many_those_in_trouble_are_shown(motion_bundle: Bundle) -> None:
    known = cameras(motion_bundle, *(f"cam-{n}" for n in range(20)))
    for name in known:
        known[name].status = status(name, "live")
    known["cam-17"].status = status("cam-17", "lost", ErrorClass.REFUSED)
    text = drawn(camera_table(known, "", max_rows=5))
    assert "cam-17" in text
    assert "and 16 more" in text
    assert sum("cam-" in line for line in text.splitlines()) == 4


def event(phase: str) -> EventMessage:
    ended = phase == "end"
    return EventMessage(
        run="R",
        seq=1,
        prev=None,
        id="E",
        phase=phase,
        camera="door",
        zone="full",
        label="walk",
        score=0.5,
        peak=0.93,
        start="2026-11-24T11:00:00.120Z",
        end="2026-11-24T11:00:04.250Z" if ended else None,
        clock="rtcp",
        pts=PtsSpan(start_ns=0, end_ns=1 if ended else None),
        model=ModelRef(name="m", version="1"),
        latency_ms=Latency(),
        reason="score" if ended else None,
    )


def test_events_as_lines() -> None:
    begun = datetime.fromisoformat("2026-11-24T11:00:00.120Z").astimezone()
    assert local_time("2026-11-24T11:00:00.120Z") == f"{begun:%H:%M:%S}.1"
    assert event_text(event("start")).plain == f"door/full walk started {begun:%H:%M:%S}.1   (score 0.50)"
    line = event_text(event("end")).plain
    assert line.startswith("door/full walk ended ")
    assert line.endswith(f"(since {begun:%H:%M:%S}.1, peak 0.93, score)")
    assert "walk ended" in drawn(with_recent(camera_table({}, ""), [event("end")]))
