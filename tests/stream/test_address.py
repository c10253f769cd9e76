from __future__ import annotations

import pytest

from stream.address import AddressError, check_address, host_and_port, is_loopback, replay_address


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:5556", "tcp://cam-server.example.com:1", "tcp://[::1]:65535", "ipc:///tmp/x", "inproc://x"],
)
def test_addresses(address: str) -> None:
    check_address(address, to_bind=True)
    check_address(address, to_bind=False)


@pytest.mark.parametrize("address", ["tcp://*:5556", "tcp://127.0.0.1:*", "tcp://127.0.0.1:0"])
def test_only_to_bind(address: str) -> None:
    check_address(address, to_bind=True)
    with pytest.raises(AddressError):
        check_address(address, to_bind=False)


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:5556", "tcp://127.0.0.1", "tcp://:5556", "tcp://h:99999", "tcp://h:x", "http://h:1", "tcp://a b:1"],
)
def test_no_addresses(address: str) -> None:
    with pytest.raises(AddressError, match="expected"):
        check_address(address, to_bind=True)


@pytest.mark.parametrize(
    ("address", "replay"),
    [
        ("tcp://127.0.0.1:5556", "tcp://127.0.0.1:5557"),
        ("tcp://[::1]:5556", "tcp://[::1]:5557"),
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"),
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"),
        ("ipc:///tmp/events", None),
        ("tcp://h:65535", None),
        ("tcp://h", None),
    ],
)
def test_the_replay_is_on_the_next_port(address: str, replay: str | None) -> None:
    assert replay_address(address) == replay


@pytest.mark.parametrize(
    ("address", "host", "port", "local"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:80", "::1", 80, True),
        ("127.3.2.1:80", "127.3.2.1", 80, True),
        ("0.0.0.0:9464", "0.0.0.0", 9464, False),
        ("[::]:9464", "::", 9464, False),
        ("192.168.1.7:9464", "192.168.1.7", 9464, False),
        ("127.0.0.1.example.com:80", "127.0.0.1.example.com", 80, False),
    ],
)
def test_hosts_and_ports(address: str, host: str, port: int, local: bool) -> None:
    assert host_and_port(address) == (host, port)
    assert is_loopback(host) == local


@pytest.mark.parametrize("address", ["", "9464", ":9464", "h", "h:x", "h:99999", "::1:80", "http://h:1", "h:1/metrics"])
def test_no_hosts_and_ports(address: str) -> None:
    with pytest.raises(AddressError, match="expected HOST:PORT"):
        host_and_port(address)
