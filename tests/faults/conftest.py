"""The films that faulty cameras show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.video_file import walk_and_rest, write_video

FPS = 15


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Something walks for 4 s and rests for 3 s, over and over: one event a round. Twice, the second larger."""
    folder = tmp_path_factory.mktemp("films")
    sizes = [(160, 120), (192, 144)]
    return [write_video(folder / f"{w}x{h}.h264", walk_and_rest(4, 3, FPS, (w, h))) for w, h in sizes]
