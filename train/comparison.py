"""Comparison: the stacks of train.stacks on a film, each in a process of its own. This module needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from stream.bench.footage import Film, Format
from stream.config import DEFAULT_MODEL
from stream.demo.server_process import ServerProcess

STACKS = {
    "baseline": ("first", 3),
    "baseline_stateless": ("stateless", 10),
    "baseline_stateless_short": ("stateless-short", 10),
    "baseline_stateless_compiled": ("stateless-compiled", 10),
}
"""Key in the report: the stack's name in train.stacks, and seconds of footage, which it takes far longer to compute."""
_PATIENCE_S = 900.0


def missing() -> str:
    """What has to be installed first, or ""."""
    return "" if find_spec("torch") else "torch: pip install 'swinstream[train]'"


def compare(
    film: Film, picture: Format, model: str | None, on_stack: Callable[[str], None] = lambda stack: None
) -> dict[str, dict[str, Any]]:
    """By key, what each stack costs. on_stack: told which is measured now. Raises DemoCameraError."""
    found = {}
    for key, (stack, seconds) in STACKS.items():
        on_stack(stack)
        settings = {
            "stack": stack,
            "path": str(film.path),
            "fps": picture.fps,
            "seconds": seconds,
            "model": model or DEFAULT_MODEL,
        }
        process = ServerProcess("train.stacks", settings, what=f"the stack '{stack}'", start_s=_PATIENCE_S)
        try:
            found[key] = process.start()
        finally:
            process.stop()
    return found
