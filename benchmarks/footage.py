"""Real footage as a camera of a set size and rate: transcoded once, then served over RTSP by a process of its own.

    python -m benchmarks.footage FOLDER     serves the folder's files, in a loop, until standard input closes;
                                            the first line of its output is the port

The server is aio-rtsp-toolkit, of the test extra: one that is not ours, and sends no more than is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

FILE = "camera.mp4"


def transcode(source: Path, target: Path, *, width: int, height: int, fps: int) -> None:
    """Scale and encode to H.264 with a key frame every two seconds and no sound. Raises RuntimeError."""
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import Gst

    Gst.init(None)
    pipeline = Gst.parse_launch(
        f"filesrc name=in ! decodebin ! videoconvert ! videoscale ! videorate ! "
        f"video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 ! "
        f"x264enc tune=zerolatency speed-preset=veryfast bitrate=800 key-int-max={2 * fps} ! "
        "video/x-h264,profile=main ! h264parse ! mp4mux ! filesink name=out"
    )
    pipeline.get_by_name("in").set_property("location", str(source))
    pipeline.get_by_name("out").set_property("location", str(target))
    try:
        pipeline.set_state(Gst.State.PLAYING)
        message = pipeline.get_bus().timed_pop_filtered(
            Gst.CLOCK_TIME_NONE, Gst.MessageType.EOS | Gst.MessageType.ERROR
        )
        if message.type == Gst.MessageType.ERROR:
            raise RuntimeError(f"cannot transcode {source}: {message.parse_error()[0].message}")
    finally:
        pipeline.set_state(Gst.State.NULL)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of FILE in the folder, served in an endless loop while the block lasts."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.footage", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            if not port:
                raise RuntimeError(f"the RTSP server ended at once (exit code {process.wait()})")
            yield f"rtsp://127.0.0.1:{port}/{FILE}?play_count=0"
        finally:
            process.kill()


def _serve(folder: str) -> None:
    from aio_rtsp_toolkit import server as toolkit

    toolkit.logger = logging.getLogger("rtsp")  # its own prints to standard output

    async def serve() -> None:
        server = toolkit.RtspServer(folder, host="127.0.0.1", port=0)
        await server.start()
        print(server._server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    _serve(sys.argv[1])
