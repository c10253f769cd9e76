from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import train.live
from engine.bundle import Bundle
from stream.demo.score import Span
from stream.events import Phase
from stream.wire import CameraState, EventMessage, Latency, ModelRef, PtsSpan, StatusMessage
from train.films import Film
from train.live import Listener, LiveError, Service, Showing, playing_s, watch_live
from train.online import OnlineEvent


def film(seconds: float, name: str = "film") -> Film:
    return Film(name, Path("film.mp4"), (Span("none", 0, round(seconds * 1e9)),))


def event(identity: str, phase: Phase, start_ns: int, end_ns: int | None = None) -> EventMessage:
    return EventMessage.model_construct(
        id=identity,
        phase=phase,
        camera="film-0",
        label="walk",
        pts=PtsSpan(start_ns=start_ns, end_ns=end_ns),
        model=ModelRef(name="m", version="1"),
        latency_ms=Latency(),
    )


def status(state: CameraState) -> StatusMessage:
    return StatusMessage(run="01J", camera="film-0", state=state, time="2026-11-24T11:00:00.000Z")


def test_films_are_played_longest_first_so_that_a_round_takes_as_long_as_its_longest() -> None:
    films = [film(10), film(60), film(12), film(50), film(8)]
    assert playing_s(films, 2) == 60 + 12 + 8
    assert playing_s(films, 1) == 140
    assert playing_s(films, 9) == 60


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    with Service(["film=x.mp4"], tmp_path / "no-model", "auto", tmp_path) as service:
        with pytest.raises(LiveError, match=r"did not start: .*no-model"):
            service.addresses()
        service._process.wait(30)  # its log has ended, which it does a moment before it
        with pytest.raises(LiveError, match="exit code 2"):
            service.check()


def test_the_service_is_ended_in_order(motion_bundle: Bundle, walking: Path, tmp_path: Path) -> None:
    with Service([f"film={walking}"], motion_bundle.path, "openvino", tmp_path) as service:
        events, replay = service.addresses()
        assert events.startswith("tcp://127.0.0.1:")
        assert replay != events
    assert service._process.returncode == 0


def test_what_a_camera_shows_after_it_has_gone_is_not_heard() -> None:
    """It is connected to again, and shows its film from the beginning; but what is late is still heard."""
    listener = Listener()
    told: list[tuple[EventMessage | StatusMessage, int]] = [
        (status("live"), 10),
        (event("a", Phase.START, 1_000), 20),
        (status("lost"), 30),
        (event("a", Phase.END, 1_000, 2_000), 40),
        (event("b", Phase.START, 3_000), 41),
        (event("b", Phase.END, 3_000, 4_000), 42),
        (status("reconnecting"), 50),
        (status("live"), 60),
        (event("c", Phase.START, 1_000), 70),
    ]
    for message, now_ns in told:
        listener.hear(message, now_ns)
    assert {name: e.pts.end_ns for name, e in listener.events["film-0"].items()} == {"a": 2_000, "b": 4_000}
    assert listener.heard_utc_ns == {"a": 20, "b": 41}
    assert listener.gone_utc_ns == {"film-0": 30}
    assert not listener.open()


def test_a_film_that_broke_off_is_played_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the second time; a film that breaks off then too stays broken."""
    films = [film(60, "whole"), film(50, "unlucky"), film(40, "hopeless")]
    played: list[str] = []

    def watch(batch: list[Film], *_: Any) -> tuple[list[Showing], int]:
        showings = []
        for shown in batch:
            played.append(shown.name)
            broken = shown.name == "hopeless" or (shown.name == "unlucky" and played.count("unlucky") == 1)
            events = (OnlineEvent(Span("walk", played.count(shown.name), 9), 9),)
            showings.append(Showing(shown, events, broken))
        return showings, 1

    monkeypatch.setattr(train.live, "_watch", watch)
    report = watch_live(films, Path("model"), cameras=2)
    assert played == ["whole", "unlucky", "hopeless", "unlucky", "hopeless"]
    assert (report.again, report.broken, report.skipped) == (["unlucky", "hopeless"], ["hopeless"], 3)
    starts = {f.name: events[0].span.start_ns for f, events in zip(report.films, report.events, strict=True)}
    assert starts == {"whole": 1, "unlucky": 2, "hopeless": 2}
