"""RTSP servers for tests: a script to run as a process of its own, and RtspServer, which runs it.

    rtsp_server.py files DIRECTORY     aio-rtsp-toolkit (not ours): loops mp4 files, RTP over TCP
    rtsp_server.py camera [OPTIONS]    gst-rtsp-server: a live test picture, with sender reports, UDP, accounts, TLS

Prints its port, then serves until its standard input closes, so it never outlives its test. `camera` takes
commands there, a line each: "freeze", "thaw", "repeat" (all pictures have one RTP timestamp from now on),
"size 320x240", "fps 5".
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} ! rtph264pay config-interval=-1",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} ! rtph265pay config-interval=-1",
    "mjpeg": "jpegenc ! rtpjpegpay",
}
VIDEO = (
    "videotestsrc is-live=true pattern={pattern} ! {delay}valve name=valve ! capsfilter name=format "
    "caps=video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 ! {encoder} name=pay0"
)
AUDIO = "audiotestsrc is-live=true volume=0.1 ! alawenc ! rtppcmapay name={name}"
# A codec that nobody has: H.264 under another name.
UNKNOWN = (
    "videotestsrc is-live=true ! x264enc tune=zerolatency ! rtph264pay ! "
    "capssetter name=pay0 caps=application/x-rtp,media=video,encoding-name=X-UNKNOWN"
)


class RtspServer:
    """Runs this script. `url(path)` is an address of it; `say` sends a command; `close` may be called twice."""

    def __init__(self, *args: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(f"RTSP server {args} did not start")
        self.port = int(line)
        self.tls = "--tls" in args

    def url(self, path: str = "camera", userinfo: str = "") -> str:
        """path: "camera", or with `files` a file's name; "name.mp4/play_count_0" loops it for ever."""
        return f"{'rtsps' if self.tls else 'rtsp'}://{userinfo and userinfo + '@'}127.0.0.1:{self.port}/{path}"

    def say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def pause(self, seconds: float) -> None:
        """As a network that is stuck: what should have come comes all at once."""
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """As a camera that loses its power: connections are cut."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve_files(options: argparse.Namespace) -> None:
    import asyncio
    import logging

    from aio_rtsp_toolkit import server as toolkit

    toolkit.logger = logging.getLogger("rtsp")  # its own logger prints to standard output

    async def serve() -> None:
        server = toolkit.RtspServer(options.directory, host="127.0.0.1", port=options.port)
        await server.start()
        assert server._server is not None
        print(server._server.sockets[0].getsockname()[1], flush=True)
        _obey_standard_input(lambda command: None)
        await server.serve_forever()

    asyncio.run(serve())


def _serve_camera(options: argparse.Namespace) -> None:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtsp", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {_launch(options)} )")
    factory.set_shared(True)
    if options.transport == "udp":
        factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)
    elif options.transport == "tcp":
        factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)
    if options.user or options.tls:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        if options.user:
            if options.auth == "digest":
                auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
                auth.add_digest(options.user, options.password, token)
            else:
                auth.add_basic(GstRtspServer.RTSPAuth.make_basic(options.user, options.password), token)
        else:
            auth.set_default_token(token)
        allowed = "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
        factory.add_role_from_structure(Gst.Structure.from_string(allowed)[0])
        if options.tls:
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(options.tls))
        server.set_auth(auth)
    elements: dict[str, Any] = {}

    def configured(_factory: Any, media: Any) -> None:
        elements["bin"] = media.get_element()

    factory.connect("media-configure", configured)
    server.get_mount_points().add_factory("/camera", factory)
    server.attach(None)

    def repeat() -> None:
        times: list[int] = []

        def stamp(_pad: Any, info: Any) -> Any:
            times.append(info.get_buffer().pts)
            info.get_buffer().pts = times[0]
            return Gst.PadProbeReturn.OK

        elements["bin"].get_by_name("pay0").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, stamp)

    def obey(command: str) -> None:
        name, _, value = command.partition(" ")
        if name == "repeat":
            repeat()
            return
        if name in {"freeze", "thaw"}:
            elements["bin"].get_by_name("valve").set_property("drop", name == "freeze")
            return
        if name == "size":
            options.size = value
        elif name == "fps":
            options.fps = int(value)
        width, height = options.size.split("x")
        caps = f"video/x-raw,format=I420,width={width},height={height},framerate={options.fps}/1"
        elements["bin"].get_by_name("format").set_property("caps", Gst.Caps.from_string(caps))

    print(server.get_bound_port(), flush=True)
    _obey_standard_input(obey)
    GLib.MainLoop().run()


def _launch(options: argparse.Namespace) -> str:
    if options.codec == "audio":
        return AUDIO.format(name="pay0")
    if options.codec == "unknown":
        return UNKNOWN
    width, height = options.size.split("x")
    encoder = ENCODERS[options.codec].format(fps=options.fps)
    # clocksync says nothing of its delay, so sender reports go by when pictures were taken.
    delay = f"queue max-size-buffers=0 ! clocksync ts-offset={options.delay_ms}000000 ! " if options.delay_ms else ""
    video = VIDEO.format(
        pattern=options.pattern, delay=delay, width=width, height=height, fps=options.fps, encoder=encoder
    )
    return f"{video} {AUDIO.format(name='pay1')}" if options.sound else video


def _obey_standard_input(obey: Callable[[str], None]) -> None:
    def read() -> None:
        for line in sys.stdin:
            obey(line.strip())
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    files = commands.add_parser("files")
    files.add_argument("directory", type=Path)
    files.set_defaults(serve=_serve_files)
    camera = commands.add_parser("camera")
    camera.add_argument("--codec", choices=[*ENCODERS, "audio", "unknown"], default="h264")
    camera.add_argument("--pattern", default="ball", help="of videotestsrc")
    camera.add_argument("--size", default="320x240")
    camera.add_argument("--fps", type=int, default=25)
    camera.add_argument("--delay-ms", type=int, default=0, help="between taking a picture and sending it")
    camera.add_argument("--sound", action="store_true", help="offer sound beside the picture")
    camera.add_argument("--transport", choices=["any", "udp", "tcp"], default="any")
    camera.add_argument("--user", default="")
    camera.add_argument("--password", default="")
    camera.add_argument("--auth", choices=["digest", "basic"], default="digest")
    camera.add_argument("--tls", help="PEM file with certificate and key")
    camera.set_defaults(serve=_serve_camera)
    for command in (files, camera):
        command.add_argument("--port", type=int, default=0, help="0: any free one")
    options = parser.parse_args()
    options.serve(options)


if __name__ == "__main__":
    main()
