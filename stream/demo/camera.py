"""DemoCamera: a camera that films the drawn actor and serves it over RTSP, in a process of its own.

    with DemoCamera(seed=3) as camera:
        print(camera.url)                        # rtsp://127.0.0.1:41234/demo
        camera.truth(start_utc_ns, end_utc_ns)   # what the actor did then

The process (stream/demo/server.py) ends when this one does, however it does: it reads a pipe that then closes.
"""

from __future__ import annotations

import subprocess
from types import TracebackType
from typing import Any, NamedTuple, Self

from stream.demo.schedule import Programme
from stream.demo.server_process import DemoCameraError, ServerProcess
from stream.frame import NS_PER_S

__all__ = ["DemoCamera", "DemoCameraError", "Truth"]


class Truth(NamedTuple):
    """What the actor does from start to just before end, UTC in nanoseconds since 1970; label may be "none"."""

    label: str
    start_utc_ns: int
    end_utc_ns: int


class DemoCamera:
    """A context manager: enter starts the camera, exit ends it. port 0 takes a free one.

    caption: draws the action's name in a corner, for people who watch. Raises DemoCameraError when it does not
    start (no GStreamer RTSP server, a taken port).
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        port: int = 0,
        host: str = "127.0.0.1",
        width: int = 640,
        height: int = 360,
        fps: int = 15,
        caption: bool = False,
    ) -> None:
        if width % 8 or height % 2:
            raise ValueError(f"the picture must be a multiple of 8 wide and of 2 high, not {width}x{height}")
        self.programme = Programme(seed)
        settings = {
            "seed": seed,
            "port": port,
            "host": host,
            "width": width,
            "height": height,
            "fps": fps,
            "caption": caption,
        }
        self._server = ServerProcess("stream.demo.server", settings)
        self._url = ""
        self._start_utc_ns = 0

    @classmethod
    def at(cls, path: str, **settings: Any) -> DemoCamera:
        """The camera that a demo:// address means: `path` is what follows, nothing or the programme's seed.

        Raises ValueError for anything else.
        """
        if path and not path.isdecimal():
            raise ValueError(f"demo:// is followed by nothing or by the number of a programme, not by '{path}'")
        return cls(seed=int(path or 0), **settings)

    @property
    def url(self) -> str:
        """rtsp://..., once started."""
        self._started()
        return self._url

    @property
    def pid(self) -> int:
        return self._started().pid

    @property
    def start_utc_ns(self) -> int:
        """UTC of the programme's second 0."""
        self._started()
        return self._start_utc_ns

    def truth(self, start_utc_ns: int, end_utc_ns: int) -> list[Truth]:
        """What is seen between two moments, in order, pauses ("none") included; spans are whole, not cut off.

        The camera stamps frames with the moment for which they are drawn, so a client that uses the camera's
        clock (RTCP) sees these times exactly, and one that uses arrival a few hundredths of a second later.
        """
        zero = self.start_utc_ns
        start_s, end_s = ((utc - zero) / NS_PER_S for utc in (start_utc_ns, end_utc_ns))
        return [
            Truth(span.label, zero + round(span.start_s * NS_PER_S), zero + round(span.end_s * NS_PER_S))
            for span in self.programme.spans(max(0.0, start_s), end_s)
        ]

    def start(self) -> None:
        greeting = self._server.start()
        self._url, self._start_utc_ns = greeting["url"], greeting["start_utc_ns"]

    def stop(self) -> None:
        """Ends the camera's process; may be called again."""
        self._server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _started(self) -> subprocess.Popen[str]:
        if self._server.process is None:
            raise DemoCameraError("the demo camera is not running: use it in a with statement")
        return self._server.process
