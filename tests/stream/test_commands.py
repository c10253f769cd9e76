"""What the commands print and what they turn errors into; run as processes they are tested in tests/test_cli.py."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from engine.bundle import BundleError
from engine.parity import ParityError
from engine.runtime.base import EngineError
from stream.commands import EventLines, Output, client_curve, guarded, keys, subscribe
from stream.config_problem import ConfigError
from stream.demo.camera import DemoCameraError
from stream.journal import JournalError
from stream.publish import PublishError
from stream.recognition import RecognitionError
from stream.security import SecurityError, make_keys
from stream.subscribe import SubscribeError
from stream.thresholds import ThresholdsError
from tests.stream.test_screen import event


@pytest.mark.parametrize(
    ("error", "code"),
    [
        *(
            (kind("what to do"), 2)
            for kind in (ConfigError, BundleError, ThresholdsError, SecurityError, SubscribeError)
        ),
        *((kind("what to do"), 1) for kind in (PublishError, JournalError, EngineError, RecognitionError)),
        (DemoCameraError("what to do"), 1),
        (ParityError("what to do", "fp32"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_are_one_line_and_an_exit_code(error: Exception, code: int) -> None:
    out = io.StringIO()
    with guarded(Console(file=out, width=40)) as got:
        raise error
    assert got == [code]
    assert out.getvalue() == "swinstream: what to do\n"


def test_several_problems_are_several_lines_and_brackets_are_no_markup() -> None:
    out = io.StringIO()
    with guarded(Console(file=out)):
        raise ConfigError("c.yaml:1: cameras[0]: [red]\nc.yaml:2: no")
    assert out.getvalue() == "swinstream: c.yaml:1: cameras[0]: [red]\nswinstream: c.yaml:2: no\n"


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), guarded(Console(file=io.StringIO())):
        _ = 1 / 0


def test_events_for_people_and_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    people, machines = EventLines(as_json=False), EventLines(as_json=True)
    for phase in ("start", "update", "end"):
        people.show(event(phase))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [["door/full", "walk", "started"], ["door/full", "walk", "ended"]]
    for phase in ("start", "update", "end"):
        machines.show(event(phase))
    assert [json.loads(line)["phase"] for line in capsys.readouterr().out.splitlines()] == ["start", "update", "end"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # closing the broken pipe complains, too
def test_a_reader_that_is_gone_is_an_error_like_any_other() -> None:
    """Rich would end the program there and then, with events still open."""
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        Output(file=os.fdopen(writing, "w")).print("a line")


def test_keys_and_who_may_use_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys(tmp_path, "door") == 0
    assert "door.key_secret" in capsys.readouterr().err
    assert keys(tmp_path, "door") == 2
    public, secret = make_keys(tmp_path, "other")
    assert client_curve(secret, str(public)).server in public.read_bytes()
    with pytest.raises(ConfigError, match="belong together"):
        client_curve(secret, None)


@pytest.mark.usefixtures("own_process")
@pytest.mark.parametrize(
    ("address", "since", "words"),
    [("nonsense", None, "expected tcp://HOST:PORT"), ("tcp://127.0.0.1:1", "x", "RUN:SEQ")],
)
def test_a_subscription_that_cannot_be(
    capsys: pytest.CaptureFixture[str], address: str, since: str | None, words: str
) -> None:
    assert subscribe(address, None, None, since, None, None, None, as_json=False) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
