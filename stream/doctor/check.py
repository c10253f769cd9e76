"""Check: one thing that was looked at, what was found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """needed: without it cameras cannot be watched. advice: what to do; empty where nothing need be done."""

    name: str
    ok: bool
    found: str
    advice: str = ""
    needed: bool = False
