"""The demo camera's process: draws the programme and serves it over RTSP as H.264.

Started by stream.demo.camera as `python -m stream.demo.server SETTINGS`. Writes one line of JSON, {"url",
"start_utc_ns"} or {"error"}, and ends when its standard input closes. Draws only while someone watches: at
640x360 and 15 fps that takes 65 core-milliseconds a second on a busy machine, of which drawing is 25, encoding
and sending the rest; 5 when nobody does.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import cv2

from stream.demo.figure import Canvas
from stream.demo.player import Player
from stream.demo.rtsp import RtspServer, run_as_process
from stream.demo.schedule import Programme
from stream.frame import NS_PER_S

_PATH = "/demo"


class Outlet:
    """The running RTSP media's appsrc, if anyone watches. Shared by the GStreamer threads and the drawing one."""

    def __init__(self, gst: Any) -> None:
        self._gst = gst
        self._lock = threading.Lock()
        self._source: Any = None

    def opened(self, source: Any) -> None:
        with self._lock:
            self._source = source

    def closed(self, source: Any) -> None:
        with self._lock:
            if self._source == source:
                self._source = None

    @property
    def wanted(self) -> bool:
        with self._lock:
            return self._source is not None

    def push(self, picture: Canvas, monotonic_ns: int, duration_ns: int) -> None:
        """Hands over a frame that shows the moment monotonic_ns; before the media plays it is dropped."""
        gst = self._gst
        with self._lock:
            source = self._source
        if source is None or source.get_state(0).state != gst.State.PLAYING:
            return
        # GStreamer's system clock is the monotonic clock, on which base_time is the stream's zero.
        pts = monotonic_ns - source.get_base_time()
        if pts < 0:
            return
        buffer = gst.Buffer.new_wrapped(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).tobytes())
        buffer.pts, buffer.duration = pts, duration_ns
        source.emit("push-buffer", buffer)


def _film(player: Player, outlet: Outlet, *, zero_ns: int, fps: int, ended: threading.Event) -> None:
    """One frame every 1/fps s of the monotonic clock from zero_ns on; frames there is no time for are left out."""
    n = 0
    while not ended.is_set():
        n = max(n + 1, (time.monotonic_ns() - zero_ns) * fps // NS_PER_S)
        due_ns = zero_ns + n * NS_PER_S // fps
        if ended.wait(max(0, due_ns - time.monotonic_ns()) / NS_PER_S):
            break
        if outlet.wanted:
            outlet.push(player.frame(n / fps), due_ns, NS_PER_S // fps)
    player.close()


def serve(settings: dict[str, Any]) -> None:
    """Serves until standard input closes. Raises RuntimeError when the server cannot be set up."""
    server = RtspServer(settings["host"], settings["port"])
    width, height, fps = settings["width"], settings["height"], settings["fps"]
    launch = (
        "( appsrc name=film is-live=true format=time max-buffers=4 max-bytes=0 leaky-type=downstream "
        f"caps=video/x-raw,format=I420,width={width},height={height},framerate={fps}/1,colorimetry=bt601 ! "
        "x264enc tune=zerolatency speed-preset=ultrafast threads=1 bitrate=1500 "
        f"key-int-max={fps * 2} ! video/x-h264,profile=constrained-baseline ! rtph264pay name=pay0 pt=96 "
        "config-interval=-1 )"
    )
    outlet = Outlet(server.gst)

    def configure(media: Any) -> None:
        source = media.get_element().get_by_name("film")
        media.connect("unprepared", lambda _media: outlet.closed(source))
        outlet.opened(source)

    server.mount(_PATH, launch, configure, shared=True)
    url = server.listen()
    ended = threading.Event()
    zero_ns, zero_utc_ns = time.monotonic_ns(), time.time_ns()
    player = Player(Programme(settings["seed"]), width, height, caption=settings["caption"])
    film = threading.Thread(
        target=_film, args=(player, outlet), kwargs={"zero_ns": zero_ns, "fps": fps, "ended": ended}, name="demo-film"
    )

    film.start()
    try:
        server.run({"url": f"{url}{_PATH}", "start_utc_ns": zero_utc_ns})
    finally:
        ended.set()
        film.join()


if __name__ == "__main__":
    cv2.setNumThreads(1)
    run_as_process(serve)
