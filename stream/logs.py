"""Logs: one line a record, UTC, `key=value` (logfmt), or one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/,+@")


def fields(message: str, **values: object) -> str:
    """`message key=value ...`; values with spaces are quoted, empty ones and None left out."""
    parts = [f"{key}={_quoted(str(value))}" for key, value in values.items() if value is not None and value != ""]
    return " ".join([message, *parts])


def _quoted(text: str) -> str:
    return text if text and _BARE.issuperset(text) else json.dumps(text, ensure_ascii=False)


class LineFormatter(logging.Formatter):
    """A record as one line, whatever its text holds; a traceback is folded into it."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        text = text.replace("\n", " | ")
        if self._as_json:
            line = {"time": moment, "level": record.levelname.lower(), "logger": record.name, "message": text}
            return json.dumps(line, ensure_ascii=False)
        return f"{moment} {record.levelname.lower():7} {record.name} {text}"


def set_up_logging(*, as_json: bool = False, stream: TextIO | None = None) -> None:
    """Send all logs, from INFO on, to `stream` (default: standard error). May be called again to change that."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(as_json=as_json))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
