"""Logs: one line a record, for people and for machines."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest

from stream.logs import fields, set_up_logging

pytestmark = pytest.mark.usefixtures("own_process")


def test_fields_are_quoted_where_they_must_be() -> None:
    text = fields("camera lost", camera="door", detail='no "answer" in 3 s', error=None, empty="", n=0)
    assert text == r'camera lost camera=door detail="no \"answer\" in 3 s" n=0'


def record(*, as_json: bool) -> str:
    out = io.StringIO()
    set_up_logging(as_json=as_json, stream=out)
    log = logging.getLogger("stream.test")
    log.debug("not shown")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("it\nbroke")
    return out.getvalue()


def test_a_record_is_one_line_whatever_it_holds() -> None:
    text = record(as_json=False)
    assert text.count("\n") == 1
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z error   stream\.test it \| broke \| Traceback", text)


def test_a_record_as_json() -> None:
    (line,) = record(as_json=True).splitlines()
    data = json.loads(line)
    assert data.keys() == {"time", "level", "logger", "message"}
    assert (data["level"], data["logger"]) == ("error", "stream.test")


def test_setting_up_again_does_not_double_lines() -> None:
    first, second = io.StringIO(), io.StringIO()
    set_up_logging(stream=first)
    set_up_logging(stream=second)
    logging.getLogger("stream.test").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1
