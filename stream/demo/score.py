"""Score: events held against what really happened. Pure; times in nanoseconds of one clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.spec import NONE_LABEL
from stream.frame import NS_PER_S

SLACK_NS = NS_PER_S
"""An event that reaches this far beyond its action still belongs to it: a camera's clock and ours may differ."""
GRACE_NS = 3 * NS_PER_S
"""An action counts once it has been over for so long: its event may still be on its way."""
SETTLED_NS = 30 * NS_PER_S
"""What has been over for so long is kept as a number only."""


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

    def __str__(self) -> str:
        wrong = f"{self.false_events} wrong event{'' if self.false_events == 1 else 's'}"
        return f"{self.right} of {self.expected} actions recognized, {wrong}"


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
    right = sum(is_right(action, events, slack_ns) for action in actions)
    return Score(len(actions), right, sum(not is_right(event, actions, slack_ns) for event in events))


class Tally:
    """The score of a demo that goes on for days: what is long over is counted and forgotten.

    since_ns: actions that began before are not expected to be recognized.
    """

    def __init__(self, since_ns: int) -> None:
        self._since_ns = since_ns
        self._settled = Score(0, 0, 0)
        self._events: dict[str, Span] = {}
        self._right: set[str] = set()
        self.horizon_ns = since_ns
        """The truth from here on is needed, whole spans."""

    def add(self, event_id: str, event: Span) -> None:
        """An event, or what is known of it now."""
        self._events[event_id] = event

    def score(self, truth: Sequence[Span], now_ns: int) -> Score:
        """truth: everything between horizon_ns and now, in order."""
        self._right |= {n for n, event in self._events.items() if is_right(_until(event, now_ns), truth)}
        over = self._right_and_missed(truth, now_ns - GRACE_NS)
        false_events = sum(n not in self._right for n in self._events)
        total = Score(*map(sum, zip(self._settled, over._replace(false_events=false_events), strict=True)))
        self._settle(truth, now_ns)
        return total

    def _right_and_missed(self, truth: Sequence[Span], until_ns: int) -> Score:
        """Of the actions that ended before until_ns."""
        over = [a for a in truth if a.start_ns >= self._since_ns and a.end_ns is not None and a.end_ns < until_ns]
        return score(over, list(self._events.values()))

    def _settle(self, truth: Sequence[Span], now_ns: int) -> None:
        before_ns = now_ns - SETTLED_NS
        over = [span for span in truth if span.end_ns is not None and span.end_ns < before_ns]
        if not over:
            return
        counted = self._right_and_missed(truth, before_ns)
        self.horizon_ns = max(span.end_ns for span in over if span.end_ns is not None)
        # These can belong to no later action.
        gone = {n for n, e in self._events.items() if e.end_ns is not None and e.end_ns < self.horizon_ns - SLACK_NS}
        counted = counted._replace(false_events=len(gone - self._right))
        self._settled = Score(*map(sum, zip(self._settled, counted, strict=True)))
        self._events = {n: event for n, event in self._events.items() if n not in gone}
        self._right -= gone


def _until(event: Span, now_ns: int) -> Span:
    return event if event.end_ns is not None else event._replace(end_ns=now_ns)
