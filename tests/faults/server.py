"""FaultServer: RTSP cameras that misbehave on demand, in a process of their own.

    with FaultServer([film], cameras=["a", "b"]) as server:
        server.url("a")                  # rtsp://127.0.0.1:PORT/a; every camera has a port of its own
        server.set("a", loss=0.3)        # see tests.faults.camera.Faults; server.set("a", loss=0) ends it
        server.cut("a")
        server.kill(); server.start()    # dies, and comes back on the same ports

films: Annex-B files (.h264). The first describes the cameras; the others are for `set(..., film=1)`.

The process serves until its standard input closes, so that it never outlives its test. It takes commands there, a
JSON object a line, and answers each with one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.faults.camera import FaultyCamera
from tests.faults.rtp import access_units
from tests.faults.rtsp import HOST, Outlet

DEFAULT_FPS = 15.0


class FaultServer:
    """Starts the process; not for several threads at a time. seed: of what is left to chance."""

    def __init__(
        self, films: Sequence[Path], cameras: Sequence[str], *, fps: float = DEFAULT_FPS, seed: int = 0
    ) -> None:
        self._films, self._fps, self._seed = [str(film) for film in films], fps, seed
        self._ports = dict.fromkeys(cameras, 0)
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def cameras(self) -> list[str]:
        return list(self._ports)

    def url(self, camera: str, userinfo: str = "") -> str:
        return f"rtsp://{userinfo and userinfo + '@'}{HOST}:{self._ports[camera]}/{camera}"

    def set(self, camera: str, **faults: object) -> None:
        """What the camera does wrong from now on; everything not named stays as it is."""
        self._ask(do="set", camera=camera, faults=faults)

    def jump(self, camera: str, seconds: float) -> None:
        """Timestamps go on so much later, or earlier."""
        self._ask(do="jump", camera=camera, seconds=seconds)

    def cut(self, camera: str) -> None:
        """Close its connections in the middle of a picture."""
        self._ask(do="cut", camera=camera)

    def drop(self, camera: str) -> None:
        """Reset its connections at once."""
        self._ask(do="drop", camera=camera)

    def played(self, camera: str) -> int:
        """How many connections came as far as PLAY."""
        return int(self._ask(do="played", camera=camera)["played"])

    def asked(self, camera: str) -> int:
        """How many requests it was sent."""
        return int(self._ask(do="asked", camera=camera)["asked"])

    def start(self) -> None:
        """Again, after `kill`: on the same ports, and nothing is wrong."""
        command = [sys.executable, "-m", "tests.faults.server", "--fps", str(self._fps), "--seed", str(self._seed)]
        command += [f"--camera={name}:{port}" for name, port in self._ports.items()]
        self._process = subprocess.Popen(
            [*command, *self._films],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self._ports = self._read()

    def kill(self) -> None:
        """As a power cut. May be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _ask(self, **command: object) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def _read(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the fault server has ended")
        return json.loads(line)


async def serve(options: argparse.Namespace) -> None:
    films = [access_units(film.read_bytes()) for film in options.films]
    outlets = {}
    for number, (name, _, port) in enumerate(camera.partition(":") for camera in options.camera):
        camera = FaultyCamera(name, films, options.fps, random.Random(options.seed * 1000 + number))
        outlets[name] = Outlet(camera, int(port))
        await outlets[name].heed()
    print(json.dumps({name: outlet.port for name, outlet in outlets.items()}), flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        try:
            answer = await _obey(outlets, json.loads(line))
        except (AttributeError, KeyError, TypeError, OSError) as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


async def _obey(outlets: dict[str, Outlet], command: dict[str, Any]) -> dict[str, object]:
    outlet = outlets[command["camera"]]
    match command["do"]:
        case "set":
            outlet.camera.change(**command["faults"])
            await outlet.heed()
        case "jump":
            outlet.camera.jump(command["seconds"])
        case "cut":
            outlet.camera.cut()
        case "drop":
            outlet.drop()
        case "asked":
            return {"asked": outlet.camera.asked}
        case "played":
            return {"played": outlet.camera.played}
        case unknown:
            raise KeyError(unknown)
    return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", type=Path, nargs="+")
    parser.add_argument("--camera", action="append", required=True, metavar="NAME:PORT", help="port 0: any free one")
    parser.add_argument("--fps", type=float, default=DEFAULT_FPS)
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
