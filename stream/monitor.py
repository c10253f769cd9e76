"""Monitor: metrics and health over HTTP, for Prometheus and whoever restarts or balances services.

A few threads answer, and nothing that a client does reaches the service: it leaves a snapshot each second, all
scrapes of which get the same bytes. A client has seconds for all of its business, and there are few at a time.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self

from stream.address import host_and_port
from stream.health import Health, Verdict
from stream.metrics import CONTENT_TYPE, Metrics
from stream.result import Recognized
from stream.snapshot import Parts
from stream.wire import EventMessage

LOOK_EVERY_S = 1.0
MAX_CLIENTS = 8
CLIENT_TIMEOUT_S = 2.0  # for one read or write
CLIENT_DEADLINE_S = 10.0  # for all of them
_POLL_S = 0.25

_OPTION = "--metrics (metrics.address)"
_HINTS = {
    errno.EADDRINUSE: "another program has this port; stop it, or choose another with " + _OPTION,
    errno.EADDRNOTAVAIL: "this machine has no such address; choose one it has, or 127.0.0.1, with " + _OPTION,
    errno.EACCES: "this user may not use the port; choose one above 1023 with " + _OPTION,
}

_log = logging.getLogger(__name__)


class MonitorError(Exception):
    """Metrics cannot be served. The text names the address and says what to do."""


class Monitor:
    """Answers at `address` (HOST:PORT; port 0 takes a free one) from when it is entered until its block ends.

    url: where it answers. Raises MonitorError.
    """

    def __init__(self, address: str) -> None:
        host, port = host_and_port(address)
        self.metrics = Metrics()
        self.health = Health()
        try:
            self._server = _Server(host, port, self.metrics, self.health)
        except OSError as error:
            hint = _HINTS.get(error.errno or 0, "choose another with " + _OPTION)
            raise MonitorError(f"cannot serve metrics at {address}: {error.strerror}: {hint}") from None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="monitor", daemon=True)
        self._look_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # ---- the service's thread

    def window(self, recognized: Recognized, latency_s: float) -> None:
        """A window was computed."""
        self.metrics.window(recognized, latency_s)

    def events(self, events: Sequence[EventMessage]) -> None:
        """Events were published."""
        self.metrics.events(events)

    def turn(self, parts: Parts, busy: bool) -> None:
        """The main loop has turned. busy: the engines' thread makes an engine."""
        self.health.turn()
        now_s = time.monotonic()
        if now_s - self._look_s >= LOOK_EVERY_S:
            self._look_s = now_s
            snapshot = parts.snapshot()
            self.metrics.look(snapshot)
            self.health.look(snapshot, busy)


class _Server(socketserver.ThreadingTCPServer):
    """Not http.server's: that one asks the name service who it is, which may take seconds."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        self.metrics, self.health = metrics, health
        self._clients: dict[Any, float] = {}  # connections and since when
        self._lock = threading.Lock()
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._lock:
            if len(self._clients) >= MAX_CLIENTS:
                return False
            self._clients[request] = time.monotonic()
            return True

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Several times a second: cut off whoever takes too long."""
        with self._lock:
            since_s = time.monotonic() - CLIENT_DEADLINE_S
            overdue = [request for request, begun_s in self._clients.items() if begun_s < since_s]
            for request in overdue:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)  # its thread then finds the end, and closes it

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("a client of the metrics went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_TIMEOUT_S
    server_version = "swinstream"
    sys_version = ""

    def do_GET(self) -> None:
        status, content_type, body = self._answer()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def _answer(self) -> tuple[HTTPStatus, str, bytes]:
        match self.path.partition("?")[0]:
            case "/metrics":
                return HTTPStatus.OK, CONTENT_TYPE, self.server.metrics.text()
            case "/healthz":
                return _judged(self.server.health.alive())
            case "/readyz":
                return _judged(self.server.health.ready())
            case _:
                return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"/metrics, /healthz and /readyz are here\n"

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are no news."""


def _judged(verdict: Verdict) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.OK if verdict.ok else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", json.dumps(verdict.body, indent=1).encode() + b"\n"
