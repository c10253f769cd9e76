"""Score: events held against what really happened. Pure; times in nanoseconds of one clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.spec import NONE_LABEL

SLACK_NS = 1_000_000_000
"""An event that reaches this far beyond its action still belongs to it: a camera's clock and ours may differ."""


class Span(NamedTuple):
    """A label between two moments; end_ns None: not over yet."""

    label: str
    start_ns: int
    end_ns: int | None


class Score(NamedTuple):
    """expected: actions that took place. right: those with an event of their label.

    false_events: events without an action of their label at that time.
    """

    expected: int
    right: int
    false_events: int


def overlaps(a: Span, b: Span, slack_ns: int = SLACK_NS) -> bool:
    """Whether the two have a moment in common, give or take slack_ns."""
    a_end = a.end_ns if a.end_ns is not None else 2**63
    b_end = b.end_ns if b.end_ns is not None else 2**63
    return a.start_ns - slack_ns < b_end and b.start_ns - slack_ns < a_end


def is_right(event: Span, truth: Sequence[Span], slack_ns: int = SLACK_NS) -> bool:
    """Whether an action of the event's label took place when it says."""
    return any(action.label == event.label and overlaps(event, action, slack_ns) for action in truth)


def score(truth: Sequence[Span], events: Sequence[Span], slack_ns: int = SLACK_NS) -> Score:
    """Hold events against the truth; spans of `none` in it are no actions."""
    actions = [span for span in truth if span.label != NONE_LABEL]
    right = sum(any(e.label == a.label and overlaps(e, a, slack_ns) for e in events) for a in actions)
    return Score(len(actions), right, sum(not is_right(event, actions, slack_ns) for event in events))
