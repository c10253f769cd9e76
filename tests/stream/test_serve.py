"""serve: the parts are built, run and taken down, in the order that leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.bundle import Bundle
from engine.runtime.base import EngineError, EngineInfo
from stream import health
from stream import subscribe as client
from stream.config import Config
from stream.journal import Journal, JournalError
from stream.monitor import MonitorError
from stream.plan import Plan, make_plan
from stream.publish import Publisher, PublishError
from stream.serve import _note, serve
from stream.service import Service
from stream.wire import EventMessage

FREE = "tcp://127.0.0.1:0"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    _, left = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=10)
    assert left == []
    assert not [thread for thread in threading.enumerate() if thread.name == "recognition"]


def config_of(bundle: Bundle, tmp_path: Path, *cameras: str, publish: str = FREE) -> Config:
    return Config.from_cameras(cameras).with_options(
        model=str(bundle.path), engine="openvino", publish=publish, replay=FREE, journal=tmp_path / "e.sqlite3"
    )


def run(config: Config, on_events: Callable[[Sequence[EventMessage]], None] = lambda events: None) -> bool:
    return serve(config, make_plan(config), threading.Event(), on_events)


def test_a_file_from_its_beginning_to_its_end(motion_bundle: Bundle, tmp_path: Path, walking: Path) -> None:
    events: list[EventMessage] = []
    assert run(config_of(motion_bundle, tmp_path, f"a={walking}"), events.extend)
    assert (events[0].phase.value, events[-1].phase.value) == ("start", "end")
    assert not run(config_of(motion_bundle, tmp_path, "a=nowhere.mp4"))


def test_being_told_to_stop_before_it_has_begun(motion_bundle: Bundle, tmp_path: Path, walking: Path) -> None:
    config = config_of(motion_bundle, tmp_path, f"a={walking}")
    stop = threading.Event()
    stop.set()
    assert serve(config, make_plan(config), stop, lambda events: None)
    assert not (tmp_path / "e.sqlite3").exists()


def test_a_demo_camera_is_started_and_the_display_is_told(motion_bundle: Bundle, tmp_path: Path) -> None:
    """Until its moving actor has been seen, by a subscriber too."""
    config = config_of(motion_bundle, tmp_path, "stage=demo://3")
    stop, turns = threading.Event(), []
    heard: list[EventMessage] = []

    class Display:
        @contextlib.contextmanager
        def showing(self, service: Service, header: str) -> Iterator[Callable[[], None]]:
            assert "openvino fp32; events at tcp://127.0.0.1:" in header or "bf16" in header
            yield lambda: turns.append(service.cameras["stage"].status.state)

    def listen(publisher: Publisher) -> None:
        events = client.events(publisher.address, replay=publisher.replay, since="first", stop=stop)
        threading.Thread(target=lambda: (heard.append(next(events)), stop.set()), daemon=True).start()

    threading.Timer(60, stop.set).start()
    assert serve(config, make_plan(config), stop, lambda events: None, Display(), listen)
    assert heard
    assert heard[0].camera == "stage"
    assert turns[-1] == "live"


def test_a_port_that_is_taken(motion_bundle: Bundle, tmp_path: Path, walking: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(PublishError, match=f"cannot serve {address}.*another program has this port"):
            run(config_of(motion_bundle, tmp_path, f"a={walking}", publish=address))
    assert run(config_of(motion_bundle, tmp_path, f"a={walking}", publish=address))


def test_a_journal_in_use_and_one_that_cannot_be_made(motion_bundle: Bundle, tmp_path: Path, walking: Path) -> None:
    config = config_of(motion_bundle, tmp_path, f"a={walking}")
    in_use = pytest.raises(JournalError, match=f"is in use by process {os.getpid()}")
    with contextlib.closing(Journal(tmp_path / "e.sqlite3")), in_use:
        run(config)
    with pytest.raises(JournalError, match="choose another file"):
        run(config.with_options(journal=walking / "events.sqlite3"))


def test_an_engine_that_cannot_be_had(motion_bundle: Bundle, tmp_path: Path, walking: Path) -> None:
    config = config_of(motion_bundle, tmp_path, f"a={walking}")
    plan = make_plan(config)

    def fail() -> Any:
        raise EngineError("no such engine here")

    broken = Plan(plan.cameras, dict.fromkeys(plan.engines, fail), plan.demos)
    with pytest.raises(EngineError, match="no such engine here"):
        serve(config, broken, threading.Event(), lambda events: None)
    assert not (tmp_path / "e.sqlite3").exists()


def test_what_a_killed_run_left_open_is_told(motion_bundle: Bundle, tmp_path: Path, walking: Path) -> None:
    config = config_of(motion_bundle, tmp_path, f"a={walking}")
    events: list[EventMessage] = []
    assert run(config, events.extend)
    start, last = events[0], events[-1]
    with contextlib.closing(Journal(tmp_path / "e.sqlite3")) as journal:  # as a kill before the end would leave it
        journal._db.execute("INSERT INTO open_events VALUES (?, ?, ?)", (last.id, start.json_text(), 10**9))
    events.clear()
    assert run(config, events.extend)
    assert (events[0].id, events[0].phase, events[0].reason) == (last.id, "end", "crashed")


def test_a_note_where_the_engine_is_not_the_first_choice() -> None:
    best = EngineInfo("openvino", "fp32", "CPU")
    second = EngineInfo("openvino", "fp32", "CPU", "no TensorRT: this machine has no NVIDIA driver")
    assert _note([best]) == ""
    assert _note([best, second, second]) == (
        "recognized by openvino fp32: no TensorRT: this machine has no NVIDIA driver"
    )


def test_it_ends_within_seconds(motion_bundle: Bundle, tmp_path: Path) -> None:
    """Also when a camera that does not answer is being tried."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = config_of(motion_bundle, tmp_path, f"a=rtsp://127.0.0.1:{silent.getsockname()[1]}/x")
        stop = threading.Event()
        threading.Timer(3, stop.set).start()
        begun_s = time.monotonic()
        assert serve(config, make_plan(config), stop, lambda events: None)
        assert time.monotonic() - begun_s < 20


def test_a_main_loop_that_hangs_is_told(
    motion_bundle: Bundle,
    tmp_path: Path,
    walking: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a thread that does not hang with it."""
    monkeypatch.setattr(health, "STUCK_S", 0.3)
    caplog.set_level("INFO")
    answers: list[int] = []

    def ask(url: str) -> int:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def hang(service: Service) -> None:
        if len(answers) < 2:
            (url,) = re.findall(r"metrics and health address=(\S+)", caplog.text)
            answers.append(ask(url))
            if len(answers) == 2:  # this turn lasts
                time.sleep(0.6)
                answers.append(ask(url))

    config = config_of(motion_bundle, tmp_path, f"a={walking}").with_options(metrics="127.0.0.1:0")
    assert serve(config, make_plan(config), threading.Event(), lambda events: None, on_turn=hang)
    assert answers == [200, 200, 503]
    assert not [thread for thread in threading.enumerate() if thread.name == "monitor"]


def test_metrics_that_cannot_be_served(motion_bundle: Bundle, tmp_path: Path, walking: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        config = config_of(motion_bundle, tmp_path, f"a={walking}").with_options(metrics=address)
        with pytest.raises(MonitorError, match=f"cannot serve metrics at {address}.*choose another with --metrics"):
            run(config)
    assert not (tmp_path / "e.sqlite3").exists()
