"""The words of events: phases, reasons to end, the rules by which scores become events, and what there is to tell.

Publishers and subscribers share them; what applies the rules is `stream.event_machine`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Phase(StrEnum):
    START = "start"
    UPDATE = "update"
    END = "end"


class EndReason(StrEnum):
    """Why an event ended."""

    SCORE = "score"
    GAP = "gap"
    CAMERA_LOST = "camera_lost"
    WORKER_LOST = "worker_lost"
    EOF = "eof"
    MAX_DURATION = "max_duration"
    REMOVED = "removed"
    RECONFIGURED = "reconfigured"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"


class Rules(BaseModel):
    """When a label's scores are an event. Scores are probabilities after softmax, temperature and smoothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(True, description="false: events of this label are not published")
    enter: float = Field(0.6, gt=0, le=1, description="a run begins when the score reaches this")
    exit: float | None = Field(
        None, gt=0, le=1, description="a run lasts while the score is at least this; default: two thirds of `enter`"
    )
    min_duration_s: float = Field(0.5, ge=0, le=3600, description="a shorter run is no event")
    merge_gap_s: float = Field(
        0.5, ge=0, le=3600, description="runs closer than this are one event; an end is known this much later"
    )
    cooldown_s: float = Field(0.0, ge=0, le=86400, description="after an event's end, no new one begins for this long")
    max_duration_s: float = Field(300.0, gt=0, le=86400, description="a longer event is ended, and may begin anew")
    exclusive: bool | str = Field(
        True,
        description="opening one label closes the other: true: among all labels that say true; "
        "a name: among labels of that group; false: may overlap any other",
    )
    smoothing_s: float = Field(
        0.0, ge=0, le=60, description="time constant of the exponential average over steps; 0: none"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Rules:
        if self.exit is not None and self.exit > self.enter:
            raise ValueError(f"exit ({self.exit:g}) must not be above enter ({self.enter:g})")
        if self.max_duration_s <= self.min_duration_s:
            raise ValueError(
                f"max_duration_s ({self.max_duration_s:g}) must be above min_duration_s ({self.min_duration_s:g})"
            )
        return self

    @property
    def exit_score(self) -> float:
        return self.enter * 2 / 3 if self.exit is None else self.exit


@dataclass(frozen=True, slots=True)
class Change:
    """Something to tell: an event started, goes on or ended. Times are PTS.

    at_ns: the end of the step that decided it, which is up to when the event is known to last while it is open.
    score, peak: the label's score now and the highest so far. reason: given with phase `end`, as end_ns is.
    """

    phase: Phase
    id: str
    label: str
    score: float
    peak: float
    start_ns: int
    end_ns: int | None
    at_ns: int
    reason: EndReason | None = None
