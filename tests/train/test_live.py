from __future__ import annotations

from pathlib import Path

import pytest

from engine.bundle import Bundle
from stream.demo.score import Span
from train.films import Film
from train.live import LiveError, Service, playing_s


def film(seconds: float) -> Film:
    return Film("film", Path("film.mp4"), (Span("none", 0, round(seconds * 1e9)),))


def test_films_are_played_longest_first_so_that_a_round_takes_as_long_as_its_longest() -> None:
    films = [film(10), film(60), film(12), film(50), film(8)]
    assert playing_s(films, 2) == 60 + 12 + 8
    assert playing_s(films, 1) == 140
    assert playing_s(films, 9) == 60


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    with Service(["film=x.mp4"], tmp_path / "no-model", "auto", tmp_path) as service:
        with pytest.raises(LiveError, match=r"did not start: .*no-model"):
            service.addresses()
        with pytest.raises(LiveError, match="exit code 2"):
            service.check()


def test_the_service_is_ended_in_order(motion_bundle: Bundle, walking: Path, tmp_path: Path) -> None:
    with Service([f"film={walking}"], motion_bundle.path, "openvino", tmp_path) as service:
        events, replay = service.addresses()
        assert events.startswith("tcp://127.0.0.1:")
        assert replay != events
    assert service._process.returncode == 0
