"""Who may connect, with real keys and real sockets."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
import zmq
import zmq.auth

from stream.publish import Publisher
from stream.security import (
    ClientCurve,
    KeyPair,
    SecurityError,
    ServerCurve,
    check_bind,
    is_loopback,
    load_key_pair,
    load_public_key,
    make_keys,
)
from tests.event_publisher import Feed, publisher_in, turn


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:5556",
        "tcp://127.9.9.9:1",
        "tcp://localhost:5556",
        "tcp://[::1]:5556",
        "ipc:///tmp/x",
        "inproc://x",
    ],
)
def test_loopback(address: str) -> None:
    assert is_loopback(address)
    check_bind(address, curve=False, allow_plaintext=False)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://*:5556",
        "tcp://0.0.0.0:5556",
        "tcp://192.168.1.2:5556",
        "tcp://[::]:5556",
        "tcp://eth0:5556",
        "tcp://127.0.0.1.example.com:5556",
        "tcp://localhost.example.com:5556",
        "tcp://example.com:5556",
        "pgm://127.0.0.1:1",
        "nonsense",
    ],
)
def test_other_addresses_need_keys_or_a_clear_word(address: str) -> None:
    assert not is_loopback(address)
    with pytest.raises(SecurityError, match=r"allow_plaintext: true"):
        check_bind(address, curve=False, allow_plaintext=False)
    check_bind(address, curve=True, allow_plaintext=False)
    check_bind(address, curve=False, allow_plaintext=True)


class TestKeys:
    def test_are_made_safe_and_read_again(self, tmp_path: Path) -> None:
        public, secret = make_keys(tmp_path / "keys", "server")
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        pair = load_key_pair(secret)
        assert load_public_key(public) == pair.public
        assert load_public_key(pair.public.decode()) == pair.public
        assert zmq.auth.load_certificate(secret) == (pair.public, pair.secret)  # others read them too
        assert pair.secret.decode() not in public.read_text()
        assert pair.secret.decode() not in repr(pair)

    def test_are_not_overwritten(self, tmp_path: Path) -> None:
        _, secret = make_keys(tmp_path, "server")
        before = secret.read_bytes()
        with pytest.raises(SecurityError, match="exists already"):
            make_keys(tmp_path, "server")
        assert secret.read_bytes() == before

    def test_a_secret_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        _, secret = make_keys(tmp_path, "server")
        secret.chmod(0o640)
        with pytest.raises(SecurityError, match=f"chmod 600 {secret}"):
            load_key_pair(secret)

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        public, secret = make_keys(tmp_path, "server")
        os.chmod(public, 0o600)
        with pytest.raises(SecurityError, match="holds no secret key"):
            load_key_pair(public)
        with pytest.raises(SecurityError, match="cannot read"):
            load_key_pair(tmp_path / "nowhere")
        with pytest.raises(SecurityError, match="cannot read"):
            load_public_key(tmp_path / "nowhere")
        for text in ("nonsense", 'metadata\ncurve\n    public-key = "short"\n'):
            secret.write_text(text)
            with pytest.raises(SecurityError, match="is no CURVE key file"):
                load_key_pair(secret)


# ---- sockets


def pair_() -> KeyPair:
    return KeyPair(*zmq.curve_keypair())


def received(publisher: Publisher, curve: ClientCurve | None, seconds: float = 10.0) -> bool:
    """Whether a client hears a heartbeat and gets an answer from the replay socket."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sub, dealer = context.socket(zmq.SUB), context.socket(zmq.DEALER)
    try:
        for socket, address in ((sub, publisher.address), (dealer, publisher.replay)):
            socket.linger = 0
            if curve:
                curve.apply(socket)
            socket.connect(address)
        sub.subscribe(b"")
        dealer.send_json({"after": "first", "camera": None, "limit": 1})
        heard = answered = False
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (heard and answered):
            publisher._due_ns["heartbeat"] = 0  # not a second between two
            turn(publisher)
            heard = heard or bool(sub.poll(0))
            answered = answered or bool(dealer.poll(0))
        return heard and answered
    finally:
        sub.close()
        dealer.close()
        context.term()


def test_only_listed_clients_of_the_right_server_hear_anything(tmp_path: Path) -> None:
    server, friend, stranger = pair_(), pair_(), pair_()
    with publisher_in(tmp_path, curve=ServerCurve(server, frozenset({friend.public}))) as publisher:
        publisher.publish(Feed("yard", 1).drafts())
        assert received(publisher, ClientCurve(friend, server.public))
        assert not received(publisher, ClientCurve(stranger, server.public), seconds=1)
        assert not received(publisher, ClientCurve(friend, stranger.public), seconds=1)
        assert not received(publisher, None, seconds=1)
        assert publisher._gate is not None
        assert publisher._gate.refused > 0


def test_without_keys_a_plain_client_hears(tmp_path: Path) -> None:
    with publisher_in(tmp_path) as publisher:
        assert received(publisher, None)
