"""Evaluation: everything that was measured of a model, as the numbers that other programs read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.detection import EventReport, frame_map
from train.evaluate import ClipReport
from train.live import LiveReport
from train.online import OnlineEvent, Trace
from train.views import CROPS

AGREEMENT_POINTS = 3.0
"""Live recall and offline recall on the same films should not differ by more."""

IOUS = (0.3, 0.5)

Number = float | int | str | None


@dataclass(frozen=True)
class Offline:
    """Films read as files. traces: what the network said of each."""

    events: EventReport
    traces: tuple[Trace, ...]
    temperature: float

    @property
    def frame_map(self) -> float:
        return frame_map(self.traces, [film.truth for film in self.events.films], self.temperature)


@dataclass(frozen=True)
class Quiet:
    """Footage in which nothing happens: by file, how long it is and what was told of it, all of it false."""

    files: Mapping[Path, tuple[float, tuple[OnlineEvent, ...]]]

    @property
    def seconds(self) -> float:
        return sum(seconds for seconds, _ in self.files.values())

    @property
    def events(self) -> int:
        return sum(len(events) for _, events in self.files.values())


@dataclass(frozen=True)
class Evaluation:
    """model, version: the bundle's name and what events call its version. view_count: clips in time of `views`."""

    model: str
    version: str
    engine: str
    data: Path
    groups: tuple[str, ...]
    clips: ClipReport
    views: ClipReport | None = None
    view_count: int = 0
    offline: Offline | None = None
    live: LiveReport | None = None
    quiet: Quiet | None = None

    @property
    def disagreement_points(self) -> float | None:
        """Live recall minus offline recall, in percentage points."""
        if self.offline is None or self.live is None:
            return None
        offline, live = self.offline.events.score, self.live.report.score
        return 100 * (live.right - offline.right) / max(1, offline.expected)

    def numbers(self) -> dict[str, Number]:
        """One flat object. `clips` to `mean_class`, `events_expected` to `footage_s`: the contract's keys."""
        low, high = self.clips.top1_interval
        found: dict[str, Number] = {
            "clips": len(self.clips.results),
            "top1": self.clips.top1,
            "top5": self.clips.top5,
            "mean_class": self.clips.mean_class,
            "top1_low": low,
            "top1_high": high,
            "unreadable": len(self.clips.unreadable),
            "model": self.model,
            "version": self.version,
            "engine": self.engine,
        }
        if self.views is not None:
            found |= {"views": self.view_count, "views_crops": CROPS, "views_top1": self.views.top1}
            found |= {"views_top5": self.views.top5, "views_mean_class": self.views.mean_class}
        if self.offline is not None:
            report = self.offline.events
            found |= {
                "offline_events_expected": report.score.expected,
                "offline_events_right": report.score.right,
                "offline_false_events": report.score.false_events,
                "frame_map": self.offline.frame_map,
            }
            for threshold in IOUS:
                matched = report.match(threshold)
                found[f"event_precision_iou{threshold:g}"] = matched.precision
                found[f"event_recall_iou{threshold:g}"] = matched.recall
            found |= _delays("delay", report)
        if self.live is not None:
            report = self.live.report
            found |= {
                "events_expected": report.score.expected,
                "events_right": report.score.right,
                "false_events": report.score.false_events,
                "footage_s": round(report.seconds, 2),
                "live_minus_offline_points": self.disagreement_points,
                "skipped_windows": self.live.skipped,
                "broken_films": len(self.live.broken),
            }
            found |= _delays("live_delay", report)
        if self.quiet is not None:
            found |= {
                "quiet_s": round(self.quiet.seconds, 2),
                "quiet_events": self.quiet.events,
                "false_events_per_hour": 3600 * self.quiet.events / self.quiet.seconds if self.quiet.seconds else None,
            }
        return {key: _rounded(value) for key, value in found.items()}


def _delays(name: str, report: EventReport) -> dict[str, Number]:
    delays = report.delays_s()
    if not delays:
        return {f"{name}_median_s": None, f"{name}_p95_s": None}
    return {f"{name}_median_s": float(np.median(delays)), f"{name}_p95_s": float(np.percentile(delays, 95))}


def _rounded(value: Number) -> Number:
    """What is not a number is null in JSON."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def percent(share: Number) -> str:
    """For people; a dash for what could not be measured."""
    return "-" if not isinstance(share, int | float) else f"{100 * share:.1f} %"
