"""The messages that other programs see, as they are on the wire: topics and JSON, field for field.

Everything is published as two frames, topic and JSON in UTF-8. Readers ignore fields they do not know, so
that a field may be added without a new schema. Times are UTC, ISO 8601 with milliseconds and `Z`; `pts` is the
stream's own clock in nanoseconds.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stream.events import EndReason, Phase
from stream.failure import ErrorClass

HEARTBEAT_TOPIC = "heartbeat"

NAME_PATTERN = r"^[a-z0-9-]+$"

# The same words as in `stream.messages`, which capture says to the core; a subscriber need not import OpenCV for them.
CameraState = Literal["connecting", "live", "degraded", "lost", "reconnecting", "failed"]
ClockName = Literal["rtcp", "arrival"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WireError(ValueError):
    """A message that is none of ours. The text says what is wrong, in one line."""


def iso_utc(utc_ns: int) -> str:
    """Nanoseconds since 1970 as `2026-11-24T11:00:00.120Z`; cut, not rounded, to milliseconds."""
    moment = _EPOCH + timedelta(milliseconds=utc_ns // 1_000_000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def utc_ns(text: str) -> int:
    """The inverse of `iso_utc`, to a millisecond. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} does not say its time zone")
    return (moment - _EPOCH) // timedelta(milliseconds=1) * 1_000_000


def _checked_time(text: str) -> str:
    utc_ns(text)
    return text


UtcText = Annotated[str, AfterValidator(_checked_time)]


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    def json_text(self) -> str:
        """One line of JSON, the fields in the order of the contract."""
        return self.model_dump_json(by_alias=True)

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Raises WireError."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise WireError(first_problem(error)) from None


class Position(Message):
    """Where an event stands in the journal. seq counts from 1 in each run; 0 is the run's beginning."""

    run: str = Field(min_length=1, max_length=64)
    seq: int = Field(ge=0, lt=2**63)

    @classmethod
    def of(cls, text: str) -> Position:
        """From `RUN:SEQ`. Raises ValueError."""
        run, colon, seq = text.rpartition(":")
        if run and colon and seq.isascii() and seq.isdigit():
            with contextlib.suppress(ValueError):  # too long
                return cls(run=run, seq=int(seq))
        raise ValueError(f"{text!r} is no position: expected RUN:SEQ, such as 01JDE0...:4182")

    def __str__(self) -> str:
        return f"{self.run}:{self.seq}"


class PtsSpan(Message):
    start_ns: int
    end_ns: int | None


class ModelRef(Message):
    name: str
    version: str


class Latency(Message):
    """Milliseconds a window waited, was computed, and from its last frame's arrival to sending.

    All null where no window led to the event (an end because the camera was lost, say).
    """

    queue: float | None = None
    infer: float | None = None
    total: float | None = None


class EventPlace(Message):
    """Where an event message stands. prev: the same camera's event before this one, also of an earlier run."""

    schema_: Literal["swinstream.event/1"] = Field("swinstream.event/1", alias="schema")
    run: str
    seq: int = Field(ge=1)
    prev: Position | None

    @property
    def position(self) -> Position:
        return Position(run=self.run, seq=self.seq)


class EventBody(Message):
    """What happened. `end` and `reason` are null until the event ends; a label is one of the model's."""

    id: str
    phase: Phase
    camera: str = Field(pattern=NAME_PATTERN)
    zone: str = Field(pattern=NAME_PATTERN)
    label: str = Field(min_length=1)
    score: float
    peak: float
    start: UtcText
    end: UtcText | None
    clock: ClockName
    pts: PtsSpan
    model: ModelRef
    latency_ms: Latency
    reason: EndReason | None

    @property
    def topic(self) -> str:
        return f"event/{self.camera}/{self.zone}/{self.label}"


class EventDraft(EventBody):
    """An event message before the journal gives it its place.

    at_ns: stream time up to which an open event is known to last; the journal keeps it, the wire does not show
    it. arrival_ns: monotonic arrival of the window's last frame, from which `latency_ms.total` will be counted.
    """

    at_ns: int
    arrival_ns: int | None = None


class EventMessage(EventBody, EventPlace):
    """A start, an update or an end of one event (design, section 5). Those of one action share `id`."""

    @classmethod
    def place(cls, body: EventBody, run: str, seq: int, prev: Position | None) -> EventMessage:
        fields = {name: getattr(body, name) for name in EventBody.model_fields}
        return cls.model_construct(run=run, seq=seq, prev=prev, **fields)


class StatusMessage(Message):
    """How a camera is; sent when it changes, and again every ten seconds for those who came later.

    error, message: why it is not live; never a secret. next_try: when it is tried again. fps: of the last second.
    """

    schema_: Literal["swinstream.status/1"] = Field("swinstream.status/1", alias="schema")
    run: str
    camera: str = Field(pattern=NAME_PATTERN)
    state: CameraState
    error: ErrorClass | None = None
    message: str | None = None
    next_try: UtcText | None = None
    fps: float | None = None
    time: UtcText

    @property
    def topic(self) -> str:
        return f"status/{self.camera}"


class HeartbeatMessage(Message):
    """Every second: the run, the seq of its last event (0: none yet), and each camera's last event."""

    run: str
    seq: int = Field(ge=0)
    last: dict[str, Position]


class ReplayRequest(Message):
    """What a client may ask of the replay socket. `last` is after the last event: it asks where that is."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    after: Position | Literal["first", "last"]
    camera: str | None = Field(None, pattern=NAME_PATTERN, max_length=64)
    limit: int = Field(ge=1)


class ReplayEnd(Message):
    """Closes an answer. next: what to ask `after` next time. more: whether that would give something now.

    pruned_before: the oldest event still kept, where older ones have been deleted; null: none have.
    """

    next: Position
    more: bool
    pruned_before: Position | None


class ReplayRefusal(Message):
    """An answer that says why there is none."""

    error: str


def event_prefix(camera: str | None) -> bytes:
    """What to subscribe to for the events of one camera, or of all."""
    return f"event/{camera}/".encode() if camera else b"event/"


def status_prefix(camera: str | None) -> bytes:
    # A topic is matched by its beginning: this gives `status/door-2` to a subscriber of `door`, who must look again.
    return f"status/{camera or ''}".encode()


def first_problem(error: ValidationError) -> str:
    """A pydantic error as one line without the input: `after.seq: Input should be a valid integer`."""
    problem: Any = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])
