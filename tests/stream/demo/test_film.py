from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from stream.demo.film import FilmCamera
from stream.demo.record import write_mp4
from stream.demo.server_process import DemoCameraError
from stream.failure import SourceError
from stream.source import Source


def watched(url: str) -> list[float]:
    """The mean luma of every frame until the camera ends the stream."""
    lumas: list[float] = []
    with Source(url) as source, contextlib.suppress(SourceError):  # so a camera's stream ends
        while True:
            frame = source.read(1.0)
            if frame is not None:
                lumas.append(float(frame.y.mean()))
    return lumas


def test_every_client_sees_the_film_from_its_beginning_in_real_time(tmp_path: Path) -> None:
    path = tmp_path / "a film.mp4"  # grows brighter from frame to frame
    write_mp4(path, (np.full((64, 64, 3), 40 + 4 * n, np.uint8) for n in range(30)), 20)
    with FilmCamera([path]) as camera:
        assert camera.begun() == {}
        before_s = time.monotonic()
        lumas = watched(camera.url(0))
        took_s = time.monotonic() - before_s
        begun = camera.begun()
        assert watched(camera.url(0))[0] == pytest.approx(lumas[0], abs=2)
        assert camera.begun() == begun, "only the first time counts"
    assert len(lumas) >= 28
    assert np.all(np.diff(lumas) > 0)
    assert took_s > 1.2
    assert abs(begun[0] / 1e9 - time.time()) < 60


def test_says_that_a_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DemoCameraError, match=f"cannot listen on 127.0.0.1:{port}"), FilmCamera([], port=port):
            pass
