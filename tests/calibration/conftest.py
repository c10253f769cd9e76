"""Footage and a bundle for calibration tests, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.bundle import Bundle
from tests.calibration.tiny import make_tiny_bundle
from tests.video_file import steady, write_video


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Shared: do not change it."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """move/*.mp4, two groups of a split.csv, and other/*.mp4 without a label: things that walk at other paces."""
    root = tmp_path_factory.mktemp("footage")
    for folder in ("move", "other"):
        (root / folder).mkdir()
    for name, fps in {"move/a": 15, "move/b": 12, "other/c": 10, "other/d": 24}.items():
        write_video(root / f"{name}.mp4", steady(3, fps))
    (root / "split.csv").write_text("path,group\nmove/a.mp4,ann\nmove/b.mp4,bob\n")
    return root
