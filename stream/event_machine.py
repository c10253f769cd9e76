"""EventMachine: from scores over time to events with a start and an end, for one zone.

A label's *run* begins at the first step whose score reaches `enter` and lasts as long as the score stays at
`exit` or above. A run of `min_duration_s` becomes an event, whose start is the run's first step; runs closer
than `merge_gap_s` are one event, so its end is held back until the gap has passed, and is then the end of the
last step of its last run. All of it is decided step by step in stream time (PTS): how steps are grouped into
calls, and how fast they arrive, changes nothing.

Labels of one exclusive group compete: of those whose run is on, only the highest may become an event, and
when it does, the group's open event ends there. So events of a group never overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ulid import ULID

from engine.softmax import softmax
from stream.events import Change, EndReason, Phase, Rules
from stream.frame import NS_PER_S

UPDATE_EVERY_NS = NS_PER_S  # of stream time: "updates (at most one a second)"

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the network's output: scores f32 [K], one per label, for [start_ns, end_ns) of stream time."""

    start_ns: int
    end_ns: int
    scores: Scores


def steps_of(
    logits: npt.NDArray[np.float32],
    pts_ns: npt.NDArray[np.int64],
    rate_hz: float,
    temperature: float = 1.0,
) -> list[Step]:
    """The steps of one window. logits: f32 [S, K+1], `none` last; pts_ns: int64 [T], T a multiple of S.

    A step lasts from its first tick's frame to the next step's; the window's last one to a tick after the last.
    """
    count, ticks = logits.shape[0], pts_ns.shape[0] // logits.shape[0]
    scores = softmax(logits.astype(np.float32) / np.float32(temperature))
    bounds = [int(t) for t in pts_ns[::ticks]] + [int(pts_ns[-1]) + round(NS_PER_S / rate_hz)]
    return [Step(bounds[s], bounds[s + 1], scores[s, :-1]) for s in range(count)]


@dataclass(slots=True)
class OpenEvent:
    """An event that has started and not ended. run_end_ns: end of the last step that belonged to a run."""

    id: str
    label: str
    start_ns: int
    run_end_ns: int
    score: float
    peak: float
    told_ns: int
    held: bool = False  # the score is below exit; the end waits for merge_gap_s

    def change(self, phase: Phase, at_ns: int, end_ns: int | None = None, reason: EndReason | None = None) -> Change:
        return Change(phase, self.id, self.label, self.score, self.peak, self.start_ns, end_ns, at_ns, reason)


@dataclass(slots=True)
class _Track:
    """What is known of one label: a run that is not an event yet, an open event, and until when it rests."""

    label: str
    rules: Rules
    group: str
    enter: float
    exit: float
    run_start_ns: int | None = None
    run_peak: float = 0.0
    event: OpenEvent | None = None
    rests_until_ns: int = -(2**62)

    @classmethod
    def of(cls, label: str, rules: Rules) -> _Track:
        if isinstance(rules.exclusive, str):
            group = f"named {rules.exclusive}"
        else:
            group = "all" if rules.exclusive else f"only {label}"
        return cls(label, rules, group, enter=rules.enter, exit=rules.exit_score)


class EventMachine:
    """The open events of one zone and what may become one.

    labels: the K actions, in the order of the scores. rules: per label; labels without rules use the defaults.
    Every start that `advance` returns is followed by exactly one end with the same id, at the latest from `finish`.
    """

    def __init__(
        self,
        labels: Sequence[str],
        rules: Mapping[str, Rules] | None = None,
        *,
        new_id: Callable[[], str] = lambda: str(ULID()),
    ) -> None:
        rules = rules or {}
        self._tracks = [_Track.of(label, rules.get(label, Rules())) for label in labels]
        self._new_id = new_id
        self._average: Scores | None = None
        self._until_ns: int | None = None  # end of the last step
        self._ended_ns: dict[str, int] = {}  # per group, when its last event ended
        self._prepare()

    @property
    def open_events(self) -> tuple[OpenEvent, ...]:
        """In the order they started."""
        return tuple(sorted((t.event for t in self._tracks if t.event), key=lambda e: (e.start_ns, e.id)))

    @property
    def quiet(self) -> bool:
        """No event is open, and none is beginning."""
        return not any(track.event or track.run_start_ns is not None for track in self._tracks)

    @property
    def top(self) -> tuple[str, float] | None:
        """The label with the highest smoothed score of the last step, and that score; None before the first."""
        if self._average is None:
            return None
        best = int(self._average.argmax())
        return self._tracks[best].label, float(self._average[best])

    def advance(self, steps: Iterable[Step]) -> list[Change]:
        """Take the next steps, in the order of time. Time that no step covers is unknown, and ends no event."""
        return [change for step in steps for change in self._advance(step)]

    def finish(self, reason: EndReason, pts_ns: int | None = None) -> list[Change]:
        """End every open event and forget the past: the next step may have any time.

        An event ends with its last step, but not after pts_ns, the last time known (a file's end, say), if given.
        What is left of a cooldown is counted from the next step.
        """
        until_ns = self._until_ns if self._until_ns is not None else 0
        changes = []
        for track in self._tracks:
            if event := track.event:
                end_ns = event.run_end_ns if pts_ns is None else min(event.run_end_ns, pts_ns)
                changes.append(self._end(track, end_ns, until_ns, reason))
            track.run_start_ns = None
            track.rests_until_ns -= until_ns  # relative, until the next step gives a new origin
        self._average = self._until_ns = None
        self._ended_ns.clear()
        return sorted(changes, key=lambda c: (c.start_ns, c.id))

    def reconfigure(self, rules: Mapping[str, Rules]) -> list[Change]:
        """Change the rules in place; averages, runs and open events stay.

        Returns the ends (`reconfigured`) of events whose label is no longer enabled.
        """
        changes = []
        for i, old in enumerate(self._tracks):
            new = _Track.of(old.label, rules.get(old.label, Rules()))
            new.event, new.rests_until_ns = old.event, old.rests_until_ns
            if new.group == old.group:  # otherwise the run competed with others than it would now
                new.run_start_ns, new.run_peak = old.run_start_ns, old.run_peak
            if new.event and not new.rules.enabled:
                at_ns = self._until_ns if self._until_ns is not None else new.event.run_end_ns
                changes.append(self._end(new, new.event.run_end_ns, at_ns, EndReason.RECONFIGURED))
            self._tracks[i] = new
        self._prepare()
        return changes

    def _prepare(self) -> None:
        self._enter = np.array([t.enter if t.rules.enabled else math.inf for t in self._tracks], np.float32)
        self._tau_ns = np.array([t.rules.smoothing_s * NS_PER_S for t in self._tracks])

    def _advance(self, step: Step) -> list[Change]:
        if not np.isfinite(step.scores).all():
            raise ValueError("scores are not finite: end the epoch with finish() and zero the network's state instead")
        if self._until_ns is None:
            for track in self._tracks:
                track.rests_until_ns += step.start_ns
        # Frame times jitter: a window may begin a little before the last one's estimated end.
        start_ns = step.start_ns if self._until_ns is None else max(step.start_ns, self._until_ns)
        end_ns = max(step.end_ns, start_ns)
        average = self._smooth(step.scores, end_ns)
        self._until_ns = end_ns
        if not (average >= self._enter).any() and self.quiet:
            return []  # nothing on and nothing beginning: what a zone is doing nearly always
        scores: list[float] = average.tolist()
        changes = self._continue(scores, start_ns, end_ns)
        changes += self._open(scores, start_ns, end_ns)
        for track in self._tracks:
            event = track.event
            if event and end_ns - event.start_ns >= _ns(track.rules.max_duration_s):
                changes.append(self._end(track, event.run_end_ns, end_ns, EndReason.MAX_DURATION))
            elif event and not event.held and end_ns - event.told_ns >= UPDATE_EVERY_NS:
                event.told_ns = end_ns
                changes.append(event.change(Phase.UPDATE, end_ns))
        return changes

    def _smooth(self, scores: Scores, end_ns: int) -> Scores:
        if self._average is None or self._until_ns is None:
            self._average = np.array(scores, np.float32)
        else:
            # By time, not by step: after a hole the past weighs as little as it should.
            weight = -np.expm1((self._until_ns - end_ns) / np.maximum(self._tau_ns, 1))
            smoothed = self._average + weight * (scores - self._average)
            self._average = np.where(self._tau_ns > 0, smoothed, scores).astype(np.float32)
        return self._average

    def _continue(self, scores: list[float], start_ns: int, end_ns: int) -> list[Change]:
        """Lengthen, hold or end the open events."""
        changes = []
        for track, score in zip(self._tracks, scores, strict=True):
            event = track.event
            if event is None:
                continue
            gap_ns = _ns(track.rules.merge_gap_s)
            if event.held and score >= track.enter and start_ns - event.run_end_ns < gap_ns:
                event.held = False
            elif not event.held and score < track.exit:
                event.held = True
            event.score = score
            if not event.held:
                event.run_end_ns, event.peak = end_ns, max(event.peak, score)
            elif end_ns - event.run_end_ns >= gap_ns:
                changes.append(self._end(track, event.run_end_ns, end_ns, EndReason.SCORE))
        return changes

    def _open(self, scores: list[float], start_ns: int, end_ns: int) -> list[Change]:
        """Begin, lengthen or drop runs, and open those that have lasted long enough."""
        highest: dict[str, tuple[float, _Track]] = {}
        for track, score in zip(self._tracks, scores, strict=True):
            if track.event:
                runs = not track.event.held
            else:
                threshold = track.enter if track.run_start_ns is None else track.exit
                runs = score >= threshold and start_ns >= track.rests_until_ns and track.rules.enabled
            if runs and (track.group not in highest or score > highest[track.group][0]):
                highest[track.group] = (score, track)
        changes = []
        for track in self._tracks:
            score, first = highest.get(track.group, (0.0, None))
            if track.event or track is not first:
                track.run_start_ns = None
                continue
            if track.run_start_ns is None:
                track.run_start_ns, track.run_peak = start_ns, score
            track.run_peak = max(track.run_peak, score)
            if end_ns - track.run_start_ns < _ns(track.rules.min_duration_s):
                continue
            # A run may have begun while another label's event was still on, and that may have ended since.
            begun_ns = max(track.run_start_ns, self._ended_ns.get(track.group, track.run_start_ns))
            for rival in self._tracks:
                if rival.event and rival.group == track.group:
                    cut_ns = min(rival.event.run_end_ns, begun_ns)
                    changes.append(self._end(rival, cut_ns, end_ns, EndReason.SCORE))
            track.event = OpenEvent(self._new_id(), track.label, begun_ns, end_ns, score, track.run_peak, end_ns)
            track.run_start_ns = None
            changes.append(track.event.change(Phase.START, end_ns))
        return changes

    def _end(self, track: _Track, end_ns: int, at_ns: int, reason: EndReason) -> Change:
        event = track.event
        assert event is not None
        end_ns = max(end_ns, event.start_ns)
        track.event = track.run_start_ns = None
        track.rests_until_ns = end_ns + _ns(track.rules.cooldown_s)
        self._ended_ns[track.group] = max(end_ns, self._ended_ns.get(track.group, end_ns))
        return event.change(Phase.END, at_ns, end_ns, reason)


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
