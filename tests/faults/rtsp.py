"""The RTSP side of a faulty camera (RFC 2326, RTP interleaved): a port of its own, and a session per connection."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from typing import NamedTuple

from tests.faults.camera import FaultyCamera, Player
from tests.faults.rtp import sdp

HOST = "127.0.0.1"
REALM = "camera"
NONCE = "0f1e2d3c4b5a6978"

_REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed", 461: "Unsupported Transport"}
_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"


class Request(NamedTuple):
    method: str
    uri: str
    headers: dict[str, str]  # names in small letters


class Outlet:
    """The camera's port. It stays the same, also while nothing listens there."""

    def __init__(self, camera: FaultyCamera, port: int = 0) -> None:
        self.camera = camera
        self.port = port
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.StreamWriter] = set()

    async def heed(self) -> None:
        """Listen or not, as the camera's faults say now."""
        if self.camera.faults.refuse == "connection":
            if self._server is not None:
                self._server.close()
                self._server = None
        elif self._server is None:
            self._server = await asyncio.start_server(self._serve, HOST, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def drop(self) -> None:
        """Break the connections there are, as a cable that is pulled does: with a reset, not with an end."""
        for writer in self._sessions:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sessions.add(writer)
        session = Session(self.camera, reader, writer, self.port)
        try:
            await session.run()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client is gone, or talks nonsense
        finally:
            self._sessions.discard(writer)
            session.end()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Session:
    def __init__(
        self, camera: FaultyCamera, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        self._camera = camera
        self._reader = reader
        self._writer = writer
        self._base = f"rtsp://{HOST}:{port}/{camera.name}"
        self._player: Player | None = None
        self._playing: asyncio.Task[None] | None = None
        self._mute = camera.faults.hang == "connect"

    async def run(self) -> None:
        """Until the client hangs up. Raises what a broken connection raises."""
        while True:
            request = await self._request()
            self._camera.asked += 1
            if request.method == "TEARDOWN":
                await self._answer(request, 200)
                return
            if not self._mute:
                await self._obey(request)
            if self._camera.faults.hang == request.method:
                self._mute = True

    def end(self) -> None:
        if self._playing is not None:
            self._playing.cancel()

    async def _obey(self, request: Request) -> None:
        match request.method:
            case "OPTIONS" | "GET_PARAMETER":
                await self._answer(request, 200, f"Public: {_METHODS}")
            case _ if not self._authorized(request):
                challenge = f'WWW-Authenticate: Digest realm="{REALM}", nonce="{NONCE}"'
                await self._answer(request, 401, challenge)
            case "DESCRIBE":
                await self._describe(request)
            case "SETUP":
                await self._set_up(request)
            case "PLAY" if self._player is not None and self._playing is None:
                rtp = self._player.rtp
                info = f"RTP-Info: url={self._base}/video;seq={rtp.sequence};rtptime={self._player.timestamp}"
                await self._answer(request, 200, "Session: 1;timeout=60", "Range: npt=0-", info)
                if self._camera.faults.hang != "PLAY":
                    self._playing = asyncio.create_task(self._play(self._player))
            case _:
                await self._answer(request, 405)

    async def _describe(self, request: Request) -> None:
        path = request.uri.partition("://")[2].partition("/")[2]
        refuse = self._camera.faults.refuse
        if refuse.isdecimal():
            await self._answer(request, int(refuse))
        elif path.partition("?")[0] != self._camera.name:
            await self._answer(request, 404)
        else:
            body = sdp(self._camera.films[0][0], HOST)
            await self._answer(request, 200, "Content-Type: application/sdp", f"Content-Base: {self._base}/", body=body)

    async def _set_up(self, request: Request) -> None:
        channels = re.search(r"RTP/AVP/TCP\b.*interleaved=(\d+)-(\d+)", request.headers.get("transport", ""))
        if channels is None:
            await self._answer(request, 461)
            return
        self._player = Player(self._camera, self._writer, int(channels[1]))
        transport = f"Transport: RTP/AVP/TCP;unicast;interleaved={channels[1]}-{channels[2]}"
        await self._answer(request, 200, transport, "Session: 1;timeout=60")

    async def _play(self, player: Player) -> None:
        self._camera.players.add(player)
        self._camera.played += 1
        try:
            await player.run()
        except OSError:
            pass
        finally:
            self._camera.players.discard(player)
            self._writer.close()

    def _authorized(self, request: Request) -> bool:
        """By digest, RFC 2617 as RTSP clients do it: MD5 without qop."""
        faults = self._camera.faults
        if not faults.password:
            return True
        given = dict(re.findall(r'(\w+)="([^"]*)"', request.headers.get("authorization", "")))
        account = _md5(f"{faults.user}:{REALM}:{faults.password}")
        action = _md5(f"{request.method}:{given.get('uri', '')}")
        return given.get("response") == _md5(f"{account}:{NONCE}:{action}")

    async def _request(self) -> Request:
        """The next; the client's own RTCP packets between are passed over."""
        while (first := await self._reader.readexactly(1)) == b"$":
            header = await self._reader.readexactly(3)
            await self._reader.readexactly(int.from_bytes(header[1:], "big"))
        text = (first + await self._reader.readuntil(b"\r\n\r\n")).decode("utf-8", "replace")
        line, *rest = text.strip().split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (h.partition(":") for h in rest)}
        await self._reader.readexactly(int(headers.get("content-length", 0)))
        method, uri, _ = line.split(" ", 2)
        return Request(method, uri, headers)

    async def _answer(self, request: Request, status: int, *headers: str, body: str = "") -> None:
        lines = [f"RTSP/1.0 {status} {_REASONS.get(status, 'Error')}", f"CSeq: {request.headers.get('cseq', '0')}"]
        lines += [*headers, *([f"Content-Length: {len(body)}"] if body else [])]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        await self._writer.drain()


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
