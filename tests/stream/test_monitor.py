"""Monitor: metrics and health over real HTTP, and clients that mean no good."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stream import monitor as monitors
from stream.monitor import MAX_CLIENTS, Monitor, MonitorError


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with Monitor("127.0.0.1:0") as made:
        yield made
    assert not [thread for thread in threading.enumerate() if thread.name == "monitor"]


def connect(monitor: Monitor) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(monitor.url.removeprefix("http://"), timeout=10)


def ask(monitor: Monitor, path: str, method: str = "GET") -> tuple[int, http.client.HTTPMessage, bytes]:
    with contextlib.closing(connect(monitor)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_before_the_service_runs(monitor: Monitor) -> None:
    status, headers, body = ask(monitor, "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"process_resident_memory_bytes", "process_open_fds", "swinstream_threads"} <= names
    assert ask(monitor, "/healthz")[0] == 200
    status, headers, body = ask(monitor, "/readyz?verbose")
    assert (status, headers["Content-Type"]) == (503, "application/json")
    assert json.loads(body)["ready"] is False


def test_other_requests(monitor: Monitor) -> None:
    status, headers, body = ask(monitor, "/healthz", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0
    assert ask(monitor, "/nothing")[0] == 404
    assert ask(monitor, "/../etc/passwd")[0] == 404
    assert ask(monitor, "/metrics", "POST")[0] == 501
    for garbage in (b"\0\xff\r\n\r\n", b"GET\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70000):
        with socket.create_connection(monitor._server.server_address[:2], timeout=10) as client:
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert b" 200 " not in client.recv(100)
    assert ask(monitor, "/healthz")[0] == 200


def test_a_flood_gets_the_same_bytes(monitor: Monitor) -> None:
    """They are made once a second, however many ask."""
    begun_s = time.monotonic()
    bodies = {ask(monitor, "/metrics")[2] for _ in range(200)}
    assert len(bodies) <= (time.monotonic() - begun_s) + 1


def test_slow_clients_are_cut_off(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that send a byte now and then, for ever; and while they hold all places, more are turned away."""
    monkeypatch.setattr(monitors, "CLIENT_DEADLINE_S", 1.0)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(monitor._server.server_address[:2])) for _ in range(8)]
        assert len(slow) == MAX_CLIENTS
        turned_away = None
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < 10:
            for client in slow:
                with contextlib.suppress(OSError):
                    client.send(b"G")
            try:
                if ask(monitor, "/healthz")[0] == 200:
                    break
            except (OSError, http.client.HTTPException) as error:
                turned_away = error
            time.sleep(0.05)
        assert turned_away is not None
        assert 0.5 < time.monotonic() - begun_s < 5


def test_clients_that_say_nothing_are_cut_off_too(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors._Handler, "timeout", 0.2)
    with socket.create_connection(monitor._server.server_address[:2], timeout=5) as client:
        assert client.recv(1) == b""


def test_addresses_that_cannot_be_had() -> None:
    with Monitor("127.0.0.1:0") as first:
        port = first.url.rpartition(":")[2]
        with pytest.raises(MonitorError, match=f"cannot serve metrics at 127.0.0.1:{port}.*another program has this"):
            Monitor(f"127.0.0.1:{port}")
    with pytest.raises(MonitorError, match="no such address"):
        Monitor("192.0.2.1:9464")
    with Monitor(f"127.0.0.1:{port}") as again:  # at once
        assert ask(again, "/healthz")[0] == 200


def test_ipv6() -> None:
    try:
        monitor = Monitor("[::1]:0")
    except MonitorError:
        pytest.skip("this machine has no IPv6")
    with monitor:
        assert monitor.url.startswith("http://[::1]:")
        assert ask(monitor, "/healthz")[0] == 200
