"""The real service on two cameras, measured for a few seconds."""

from __future__ import annotations

import numpy as np
import pytest

from engine.bundle import Bundle
from stream.bench.footage import Film, Format, lengthened
from stream.bench.result import report, stages_s
from stream.bench.session import Recording, Session
from stream.demo.record import write_mp4
from stream.demo.schedule import Span

SECONDS = 5.0
PICTURE = Format(160, 120, 15)
WALK_S, REST_S = 1.5, 1.5


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """A square that walks and rests, again and again."""
    folder = tmp_path_factory.mktemp("films")
    path, frames = folder / "film.mp4", []
    for n in range(round((WALK_S + REST_S) * PICTURE.fps)):
        frame = np.full((PICTURE.height, PICTURE.width, 3), 60, np.uint8)
        left = 3 * min(n, round(WALK_S * PICTURE.fps))
        frame[40:80, left : left + 30] = 220
        frames.append(frame)
    write_mp4(path, frames, PICTURE.fps)
    return lengthened(Film(path, WALK_S + REST_S, (Span("move", 0.0, WALK_S),)), 30.0, folder)


@pytest.fixture(scope="module")
def recorded(film: Film, motion_bundle: Bundle) -> tuple[Recording, list[str]]:
    with Session([film, film], model=str(motion_bundle.path)) as session:
        live: list[int] = []
        session.warm_up(1.0, live.append)
        assert live[-1] == 2
        return session.record(SECONDS, drain_s=2.0), session.names


def test_all_cameras_are_watched_in_real_time(recorded: tuple[Recording, list[str]], film: Film) -> None:
    recording, names = recorded
    found = report(recording, dict.fromkeys(names, film), PICTURE)
    assert found["seconds"] == pytest.approx(SECONDS, abs=1.0)
    assert recording.troubles == []
    assert found["fps_min"] == pytest.approx(PICTURE.fps, abs=2.0)
    assert found["dropped"] == 0
    assert found["windows"] >= 4
    assert found["latency_ms"]["n"] == found["windows"]


def test_cpu_time_is_told_apart(recorded: tuple[Recording, list[str]]) -> None:
    recording, _ = recorded
    stages = stages_s(recording)
    assert all(seconds > 0 for seconds in stages.values()), stages
    inside_s = sum(stages.values()) - stages["capture"]
    assert inside_s == pytest.approx(recording.cpu_s["core"], abs=0.05), "the core's parts are the core"
    assert 0 < recording.cpu_s["film server"] < recording.seconds


def test_actions_are_heard_when_they_are_seen(recorded: tuple[Recording, list[str]], film: Film) -> None:
    recording, names = recorded
    found = report(recording, dict.fromkeys(names, film), PICTURE)
    assert found["actions"] >= 1
    assert found["actions_recognized"] == found["actions"]
    assert 0 < found["action_to_event_ms"]["p50"] < 4000
