from __future__ import annotations

import pytest

from stream.address import AddressError, check_address, replay_address


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
