"""`~` in paths that a user wrote."""

from __future__ import annotations

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """`path` with `~` or `~user` at its front replaced. Raises ValueError for a user who does not exist."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{path}: {Path(path).parts[0]} is the home folder of nobody known here") from None
