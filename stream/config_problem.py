"""ConfigError, and pydantic's errors in words that help whoever wrote the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from stream.wire import NAME_PATTERN


class ConfigError(Exception):
    """A configuration that cannot be used. One line for each problem, with file and line, key and value."""


class MisplacedError(ValueError):
    """A problem that a validator finds further inside its value. inner: the way there."""

    def __init__(self, text: str, *inner: str | int) -> None:
        super().__init__(text)
        self.inner = inner


def problems_of(error: ValidationError) -> list[dict[str, Any]]:
    """The errors of pydantic that a user can do something about."""
    problems: list[dict[str, Any]] = [dict(p) for p in error.errors(include_url=False, include_input=False)]

    def secondary(problem: dict[str, Any]) -> bool:
        # A tuple whose elements are all wrong is "too short" as well.
        depth = len(problem["loc"])
        inside = (other for other in problems if len(other["loc"]) > depth)
        return problem["type"] == "too_short" and any(other["loc"][:depth] == problem["loc"] for other in inside)

    return [problem for problem in problems if not secondary(problem)]


def problem_text(problem: Mapping[str, Any]) -> str:
    """The words of one pydantic error, without the input."""
    context = problem.get("ctx") or {}
    if isinstance(context.get("error"), ValueError):
        return str(context["error"])
    if context.get("pattern") == NAME_PATTERN:
        return "expected small letters a-z, digits and hyphens"
    if problem["type"] == "too_short":
        return f"expected at least {context['min_length']}"
    return str(problem["msg"]).replace("Input should be", "expected", 1)


def key_text(loc: Sequence[str | int]) -> str:
    """`("cameras", 0, "uri")` as `cameras[0].uri`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in loc).lstrip(".")


def _printable(key: str) -> str:
    """A key that someone wrote may hold anything, and an error is one line of text."""
    return key if key.isprintable() else repr(key)


def inner_loc(problem: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Where a pydantic error is, with what a `MisplacedError` adds."""
    error = (problem.get("ctx") or {}).get("error")
    return tuple(problem["loc"]) + (error.inner if isinstance(error, MisplacedError) else ())
