"""RtspServer: GStreamer's RTSP server as a process of its own, which lives as long as the one that started it.

What every demo server does: it takes its settings as one argument in JSON, writes one line of JSON when it listens
(or {"error"}), and ends when its standard input closes. The other side is stream/demo/server_process.py.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn


class RtspServer:
    """Serves pipelines on one address. Raises RuntimeError where GStreamer's RTSP server is missing."""

    def __init__(self, host: str, port: int) -> None:
        try:
            import gi

            gi.require_version("Gst", "1.0")
            gi.require_version("GstRtspServer", "1.0")
            from gi.repository import GLib, Gst, GstRtspServer
        except (ImportError, ValueError) as error:
            raise RuntimeError(f"GStreamer's RTSP server is missing ({error}); see apt-packages.txt") from None
        Gst.init(None)
        self.gst: Any = Gst
        self._glib, self._rtsp = GLib, GstRtspServer
        self._loop = GLib.MainLoop()
        self._host, self._port = host, port
        self._server = GstRtspServer.RTSPServer()
        self._server.set_address(host)
        self._server.set_service(str(port))

    def mount(self, path: str, launch: str, on_media: Callable[[Any], None], *, shared: bool) -> None:
        """Serve the pipeline `launch` at `path`: one for all clients, or one for each, from its beginning.

        on_media: called in GStreamer's threads with each GstRTSPMedia before it plays.
        """
        factory = self._rtsp.RTSPMediaFactory()
        factory.set_shared(shared)
        factory.set_launch(launch)
        factory.connect("media-configure", lambda _factory, media: on_media(media))
        self._server.get_mount_points().add_factory(path, factory)

    def listen(self) -> str:
        """Open the port; returns the server's address, rtsp://host:port. Raises RuntimeError."""
        if self._server.attach(None) == 0:
            raise RuntimeError(f"cannot listen on {self._host}:{self._port}; is the port taken?")
        return f"rtsp://{self._host}:{self._server.get_bound_port()}"

    def run(self, greeting: dict[str, Any]) -> None:
        """Write the greeting, then serve until standard input closes."""
        threading.Thread(target=self._wait_for_parent, daemon=True, name="demo-parent").start()
        tell(greeting)
        self._loop.run()

    def _wait_for_parent(self) -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        self._glib.idle_add(self._loop.quit)  # quit() by itself is lost when the loop does not run yet


def tell(message: dict[str, Any]) -> None:
    """A line of JSON for the process that started this one."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def run_as_process(serve: Callable[[dict[str, Any]], None]) -> NoReturn:
    """Serve with the settings of the command line, and end the process.

    Without the usual clean-up: GStreamer's threads may still be in Python callbacks.
    """
    code = 0
    try:
        serve(json.loads(sys.argv[1]))
    except RuntimeError as error:
        tell({"error": str(error)})
        code = 1
    os._exit(code)
