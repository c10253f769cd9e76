"""The film camera's process: serves H.264 files over RTSP as they are, in real time and once to each client.

Started by stream.demo.film as `python -m stream.demo.film_server SETTINGS`. Writes {"url"}, then a line {"film",
"start_utc_ns"} whenever one begins to play: the moment of its first frame. Nothing is decoded: what a client gets is
what is in the file.
"""

from __future__ import annotations

import json
import time
from typing import Any

from stream.demo.rtsp import RtspServer, run_as_process, tell

LAUNCH = "( filesrc location={path} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )"


def serve(settings: dict[str, Any]) -> None:
    """Serves file n at /n until standard input closes. Raises RuntimeError when the server cannot be set up."""
    server = RtspServer(settings["host"], settings["port"])
    playing = int(server.gst.State.PLAYING)

    def mount(film: int, path: str) -> None:
        def begun(_media: Any, state: int) -> None:
            if state == playing:
                tell({"film": film, "start_utc_ns": time.time_ns()})

        launch = LAUNCH.format(path=json.dumps(path, ensure_ascii=False))
        server.mount(f"/{film}", launch, lambda media: media.connect("new-state", begun), shared=False)

    for film, path in enumerate(settings["paths"]):
        mount(film, path)
    server.run({"url": server.listen()})


if __name__ == "__main__":
    run_as_process(serve)
