from __future__ import annotations

import pytest

from stream.events import Change, EndReason, Phase
from stream.frame import ClockSource, StreamKey
from stream.report import Clock, Reporter
from stream.wire import Latency, ModelRef

S = 1_000_000_000
UTC_NS = 1_795_518_000 * S  # 2026-11-24T11:00:00Z


def change(phase: Phase, at_s: float, end_s: float | None = None, reason: EndReason | None = None) -> Change:
    end_ns = None if end_s is None else round(end_s * S)
    return Change(phase, "id1", "walk", 0.912345, 0.987654, 10 * S, end_ns, round(at_s * S), reason)


def reporter() -> Reporter:
    return Reporter(StreamKey("yard", "gate"), ModelRef(name="movements", version="1"))


def test_the_clock_is_fixed_when_an_event_opens() -> None:
    r = reporter()
    first = Clock(UTC_NS - 10 * S, ClockSource.RTCP)
    later = Clock(UTC_NS + 3600 * S, ClockSource.ARRIVAL)  # the camera's clock was set meanwhile
    (start,) = r.drafts([change(Phase.START, 10.5)], first)
    (update,) = r.drafts([change(Phase.UPDATE, 11.5)], later)
    (end,) = r.drafts([change(Phase.END, 12.5, 12.25, EndReason.SCORE)], later)
    assert [d.start for d in (start, update, end)] == ["2026-11-24T11:00:00.000Z"] * 3
    assert [d.clock for d in (start, update, end)] == ["rtcp"] * 3
    assert (end.end, end.pts.end_ns, end.reason) == ("2026-11-24T11:00:02.250Z", 12_250_000_000, EndReason.SCORE)
    assert (start.end, start.pts.end_ns, start.reason) == (None, None, None)


def test_fields() -> None:
    (draft,) = reporter().drafts(
        [change(Phase.START, 10.5)],
        Clock(UTC_NS, ClockSource.ARRIVAL),
        latency=Latency(queue=1.0, infer=2.0),
        arrival_ns=77,
    )
    assert (draft.camera, draft.zone, draft.label, draft.id) == ("yard", "gate", "walk", "id1")
    assert (draft.score, draft.peak) == (0.9123, 0.9877)
    assert (draft.at_ns, draft.arrival_ns) == (10_500_000_000, 77)
    assert draft.latency_ms == Latency(queue=1.0, infer=2.0, total=None)


def test_an_end_needs_no_clock_and_a_start_does() -> None:
    r = reporter()
    r.drafts([change(Phase.START, 10.5)], Clock(UTC_NS, ClockSource.RTCP))
    assert r.drafts([change(Phase.END, 12, 11, EndReason.CAMERA_LOST)])[0].reason is EndReason.CAMERA_LOST
    with pytest.raises(ValueError, match="clock"):
        r.drafts([change(Phase.START, 10.5)])
