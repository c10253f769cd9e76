"""The messages: names, order and form of every field are a contract."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from stream import messages
from stream.events import EndReason, Phase
from stream.failure import ErrorClass
from stream.wire import (
    CameraState,
    EventDraft,
    EventMessage,
    HeartbeatMessage,
    Latency,
    ModelRef,
    Position,
    PtsSpan,
    ReplayEnd,
    ReplayRequest,
    StatusMessage,
    WireError,
    event_prefix,
    iso_utc,
    status_prefix,
    utc_ns,
)

DRAFT = EventDraft(
    id="01JE",
    phase=Phase.START,
    camera="front-door",
    zone="full",
    label="walk",
    score=0.94,
    peak=0.97,
    start="2026-11-24T11:00:00.120Z",
    end=None,
    clock="rtcp",
    pts=PtsSpan(start_ns=81240000000, end_ns=None),
    model=ModelRef(name="movements", version="3f9c"),
    latency_ms=Latency(queue=3.0, infer=9.8, total=41.0),
    reason=None,
    at_ns=82000000000,
    arrival_ns=5,
)


def test_an_event_is_as_in_the_design() -> None:
    message = EventMessage.place(DRAFT, "01JR", 4182, Position(run="01JQ", seq=4177))
    assert message.json_text() == (
        '{"schema":"swinstream.event/1","run":"01JR","seq":4182,"prev":{"run":"01JQ","seq":4177},"id":"01JE",'
        '"phase":"start","camera":"front-door","zone":"full","label":"walk",'
        '"score":0.94,"peak":0.97,"start":"2026-11-24T11:00:00.120Z","end":null,"clock":"rtcp",'
        '"pts":{"start_ns":81240000000,"end_ns":null},'
        '"model":{"name":"movements","version":"3f9c"},'
        '"latency_ms":{"queue":3.0,"infer":9.8,"total":41.0},"reason":null}'
    )
    assert message.topic == "event/front-door/full/walk"
    assert EventMessage.parse(message.json_text()) == message


def test_an_end_says_why() -> None:
    end = DRAFT.model_copy(update={"phase": Phase.END, "reason": EndReason.CAMERA_LOST, "end": DRAFT.start})
    told = json.loads(EventMessage.place(end, "01JR", 1, None).json_text())
    assert (told["phase"], told["reason"], told["prev"]) == ("end", "camera_lost", None)


def test_reasons_phases_states_and_errors_are_those_of_the_design() -> None:
    reasons = (
        "score | gap | camera_lost | worker_lost | eof | max_duration | removed | reconfigured | shutdown | crashed"
    )
    assert " | ".join(EndReason) == reasons
    assert [str(p) for p in Phase] == ["start", "update", "end"]
    assert get_args(CameraState) == ("connecting", "live", "degraded", "lost", "reconnecting", "failed")
    assert " | ".join(ErrorClass) == "auth | not_found | refused | timeout | codec | tls | protocol | eof"


def test_capture_speaks_the_same_words() -> None:
    assert set(get_args(messages.CameraState)) == set(get_args(CameraState))
    assert set(get_args(messages.EpochEnd)) <= {str(r) for r in EndReason}


def test_status_and_heartbeat() -> None:
    status = StatusMessage(
        run="01JR",
        camera="yard",
        state="lost",
        error=ErrorClass.AUTH,
        message="the camera refuses the password",
        next_try="2026-11-24T11:05:00.000Z",
        fps=None,
        time="2026-11-24T11:00:00.000Z",
    )
    assert status.json_text() == (
        '{"schema":"swinstream.status/1","run":"01JR","camera":"yard","state":"lost","error":"auth",'
        '"message":"the camera refuses the password","next_try":"2026-11-24T11:05:00.000Z","fps":null,'
        '"time":"2026-11-24T11:00:00.000Z"}'
    )
    assert status.topic == "status/yard"
    beat = HeartbeatMessage(run="01JR", seq=9, last={"yard": Position(run="01JQ", seq=7)})
    assert beat.json_text() == '{"run":"01JR","seq":9,"last":{"yard":{"run":"01JQ","seq":7}}}'


def test_replay_request_and_end() -> None:
    request = ReplayRequest(after=Position(run="R", seq=3), camera=None, limit=10)
    assert request.json_text() == '{"after":{"run":"R","seq":3},"camera":null,"limit":10}'
    assert ReplayRequest.parse('{"after": "first", "camera": "yard", "limit": 1}').after == "first"
    end = ReplayEnd(next=Position(run="R", seq=4), more=False, pruned_before=None)
    assert end.json_text() == '{"next":{"run":"R","seq":4},"more":false,"pruned_before":null}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        "{}",
        '{"after": "middle", "camera": null, "limit": 1}',
        '{"after": "first", "camera": "Yard", "limit": 1}',
        '{"after": "first", "camera": null, "limit": 0}',
        '{"after": "first", "camera": null, "limit": "1"}',
        '{"after": "first", "camera": null, "limit": 1, "more": 1}',
        '{"after": {"run": "R", "seq": -1}, "camera": null, "limit": 1}',
        '{"after": {"run": "R", "seq": 9999999999999999999999}, "camera": null, "limit": 1}',
        '{"after": {"run": "", "seq": 1}, "camera": null, "limit": 1}',
        "[" * 5000,
        b"\xff\xfe",
    ],
)
def test_requests_that_are_none(text: str | bytes) -> None:
    with pytest.raises(WireError) as caught:
        ReplayRequest.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_readers_pass_over_fields_they_do_not_know() -> None:
    text = EventMessage.place(DRAFT, "R", 1, None).json_text()
    assert EventMessage.parse(text[:-1] + ',"weather":"fine"}').seq == 1


def test_a_time_that_is_none_is_refused() -> None:
    text = EventMessage.place(DRAFT, "R", 1, None).json_text()
    for wrong in ("yesterday", "2026-11-24T11:00:00.120"):  # the second has no time zone
        with pytest.raises(WireError, match="start"):
            EventMessage.parse(text.replace("2026-11-24T11:00:00.120Z", wrong))


def test_times_are_utc_with_milliseconds_and_cut() -> None:
    assert iso_utc(0) == "1970-01-01T00:00:00.000Z"
    assert iso_utc(1_795_518_000_120_999_999) == "2026-11-24T11:00:00.120Z"
    assert utc_ns("2026-11-24T11:00:00.120Z") == 1_795_518_000_120_000_000


def test_a_position_as_text() -> None:
    assert Position.of("01JR:12") == Position(run="01JR", seq=12)
    assert str(Position(run="01JR", seq=12)) == "01JR:12"
    for wrong in ("", "12", "R:", ":3", "R:x", "R:-1", "R:²"):
        with pytest.raises(ValueError, match="expected RUN:SEQ"):
            Position.of(wrong)


def test_prefixes() -> None:
    assert event_prefix("yard") == b"event/yard/"
    assert event_prefix(None) == b"event/"
    assert status_prefix("yard") == b"status/yard"
