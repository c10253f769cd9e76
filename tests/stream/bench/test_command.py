from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from stream.bench.command import parse_size, table
from stream.bench.footage import Format
from stream.bench.result import report, verdicts
from tests.program import Program
from tests.stream.bench.test_result import FILMS, recording


@pytest.mark.parametrize("text", ["640", "x", "640x", "641x360", "640x361", "32x32", "-640x360", "640x360x3"])
def test_a_size_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=f"--size.*{text}"):
        parse_size(text)


def test_size() -> None:
    assert parse_size("1280x720") == (1280, 720)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bench", "cameras", "--no-baseline", "--size", "big"), "--size is WIDTHxHEIGHT"),
        (("bench", "cameras", "--no-baseline", "--footage", "absent.mp4"), "footage absent.mp4 does not exist"),
        (("capacity", "--model", "absent"), "no model 'absent'"),
    ],
)
def test_wrong_usage_is_one_line(program: Program, arguments: tuple[str, ...], said: str) -> None:
    ended = program.run(*arguments)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_the_table_names_every_stage_and_what_was_lost() -> None:
    found: dict[str, Any] = report(recording(skipped={"backlog": 2}), FILMS, Format())
    found |= {"idle": 1, "baseline": {"core_ms_per_camera_s": 5800.0}, "times_fewer": {"baseline": 10.0}}
    found["held"] = verdicts(found)
    out = StringIO()
    Console(width=120, file=out).print(table(found))
    text = out.getvalue()
    assert "1 of them idle" in text
    assert "2 backlog" in text
    assert "not_sampled" not in text, "frames that were never wanted are no loss"
    assert "5800 core-ms, 10.0 times ours" in text
