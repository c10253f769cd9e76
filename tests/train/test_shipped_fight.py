"""The shipped `fight`: silent on footage that it never saw and that chose nothing, and heard where people fight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.bundle import Bundle
from engine.runtime.openvino import OpenVINOEngine
from stream.thresholds import Thresholds
from train.data.clips import data_root
from train.online import OnlineEvent, events_in, trace


def heard(paths: list[Path]) -> Iterator[list[OnlineEvent]]:
    """The events of each file, by the bundle's thresholds."""
    bundle = Bundle.load("fight")
    thresholds = Thresholds.parse(bundle.thresholds)
    rules = thresholds.rules(bundle.spec.actions, {})
    with closing(OpenVINOEngine(bundle)) as engine:
        for path in paths:
            yield events_in(trace(engine, path), rules, thresholds.temperature)


@pytest.mark.needs_data
def test_streams_without_a_fight() -> None:
    """Five minutes of a street, a room, bottles, and people at play."""
    events = list(heard(sorted((data_root() / "streams").iterdir())))
    assert len(events) == 6
    assert sum(map(len, events)) <= 1


@pytest.mark.needs_data
def test_clips_of_fights_and_of_none() -> None:
    """It was trained on them, so this says only that it works at all: the card has what it is worth."""
    clips = [sorted((data_root() / "surv_fight" / folder).glob("*.mp4"))[::8] for folder in ("fight", "noFight")]
    fights, none = (sum(bool(events) for events in heard(paths)) for paths in clips)
    assert fights >= 0.35 * len(clips[0])
    assert none <= 0.15 * len(clips[1])
