"""FilmCamera: cameras that show files, each over RTSP as a live camera would send it, in a process of their own.

with FilmCamera([Path("a.mp4"), Path("b.mp4")]) as cameras:
    cameras.url(0)        # rtsp://127.0.0.1:41234/0, which plays a.mp4 from its beginning
    cameras.begun()       # {0: 1795541159323355422} once somebody watches it
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stream.demo.server_process import ServerProcess


class FilmCamera:
    """A context manager: enter starts the server, exit ends it. paths: H.264 in MP4.

    A client that comes back sees its film from the beginning again. Raises DemoCameraError when it does not start.
    """

    def __init__(self, paths: Sequence[Path], *, host: str = "127.0.0.1", port: int = 0) -> None:
        settings = {"host": host, "port": port, "paths": [str(path.absolute()) for path in paths]}
        self._server = ServerProcess("stream.demo.film_server", settings)
        self._url = ""
        self._begun: dict[int, int] = {}

    def url(self, film: int) -> str:
        return f"{self._url}/{film}"

    def begun(self) -> dict[int, int]:
        """By film, when it was first begun: UTC of its first frame in nanoseconds."""
        for line in self._server.said():
            self._begun.setdefault(line["film"], line["start_utc_ns"])
        return dict(self._begun)

    @property
    def process(self) -> subprocess.Popen[str] | None:
        """The server's, while it runs."""
        return self._server.process

    def __enter__(self) -> Self:
        self._url = self._server.start()["url"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
