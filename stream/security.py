"""Who may connect: plain text on this machine only, CURVE (Curve25519) anywhere else.

A CURVE socket of libzmq lets in every client that knows the server's public key. The list of clients is
enforced by whoever answers on ZAP's in-process address (https://rfc.zeromq.org/spec/27), which is `Gate`.
pyzmq has one in a thread of its own; this one is polled by the thread that owns the sockets.

Key files are those of pyzmq and CZMQ: `NAME.key` holds the public key, `NAME.key_secret` both.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import zmq
import zmq.auth
from zmq.utils import z85

_ZAP_ADDRESS = "inproc://zeromq.zap.01"
_LOOPBACK = re.compile(r"^(?:inproc://|ipc://|tcp://(?:localhost|127(?:\.\d{1,3}){3}|\[::1\]):)", re.I)
_PUBLIC_KEY = re.compile(r"^[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}$")

PUBLIC_SUFFIX = ".key"
SECRET_SUFFIX = ".key_secret"


class SecurityError(Exception):
    """A key is missing or unsafe, or a socket would be open to the network. The text says what to do."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, Z85 encoded (40 bytes each)."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerCurve:
    """A server's own keys and the public keys (Z85) of the only clients it lets in."""

    keys: KeyPair
    clients: frozenset[bytes]

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Before binding. The context also needs a `Gate`, or any client may enter."""
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self.keys.public, self.keys.secret
        socket.setsockopt(zmq.ZAP_DOMAIN, b"swinstream")


@dataclass(frozen=True, slots=True)
class ClientCurve:
    """A client's own keys and the public key (Z85) of the server it trusts."""

    keys: KeyPair
    server: bytes

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Before connecting."""
        socket.curve_serverkey = self.server
        socket.curve_publickey, socket.curve_secretkey = self.keys.public, self.keys.secret


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a socket bound to this ZeroMQ address."""
    return bool(_LOOPBACK.match(address))


def check_bind(address: str, *, curve: bool, allow_plaintext: bool) -> None:
    """Raises SecurityError for an address that others could reach without keys."""
    if not (is_loopback(address) or curve or allow_plaintext):
        raise SecurityError(
            f"refusing to serve {address} to the network in plain text: bind to 127.0.0.1, or give CURVE keys "
            "(`swinstream keys`, then security.server_key and security.clients), or, on a network you trust, set "
            "security.allow_plaintext: true"
        )


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key pair; the paths of the public and the secret file, the latter readable by its owner only.

    Raises SecurityError where one of the files exists already or cannot be written.
    """
    public, secret = zmq.curve_keypair()
    heads = "#   swinstream CURVE {} key {}\n\n"
    body = f'metadata\ncurve\n    public-key = "{public.decode()}"\n'
    files = {
        PUBLIC_SUFFIX: heads.format("public", "(give it to the other side)") + body,
        SECRET_SUFFIX: heads.format("secret", "(keep it on this machine)")
        + body
        + f'    secret-key = "{secret.decode()}"\n',
    }
    paths = {suffix: folder / (name + suffix) for suffix in files}
    for path in paths.values():
        if path.exists():
            raise SecurityError(f"{path} exists already: keys are not overwritten; choose another name or move it away")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in files.items():
            mode = 0o600 if suffix == SECRET_SUFFIX else 0o644
            fd = os.open(paths[suffix], os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(text)
    except OSError as error:
        raise SecurityError(f"cannot write keys to {folder}: {error.strerror}") from None
    return paths[PUBLIC_SUFFIX], paths[SECRET_SUFFIX]


def load_key_pair(path: Path) -> KeyPair:
    """From a secret key file. Raises SecurityError, also if others may read the file."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SecurityError(f"cannot read the secret key {path}: {error.strerror}") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise SecurityError(f"the secret key {path} can be read by others: chmod 600 {path}")
    public, secret = _load(path)
    if secret is None:
        raise SecurityError(f"{path} holds no secret key: expected the file that ends in {SECRET_SUFFIX}")
    return KeyPair(public, secret)


def load_public_key(key: str | Path) -> bytes:
    """From 40 characters of Z85, or from a key file. Raises SecurityError."""
    if isinstance(key, str) and _PUBLIC_KEY.match(key):
        return key.encode()
    return _load(Path(key))[0]


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
        for key in (public, *([secret] if secret else [])):
            if len(z85.decode(key)) != 32:
                raise ValueError
    except OSError as error:
        raise SecurityError(f"cannot read the key {path}: {error.strerror or 'no such file'}") from None
    except (ValueError, KeyError):
        raise SecurityError(f"{path} is no CURVE key file; `swinstream keys` makes them") from None
    return public, secret


class Gate:
    """Answers a context's ZAP requests: a client enters if its public key is listed.

    Make it before the sockets bind; call `handle` whenever `socket` can be read. Its sockets' handshakes wait
    until then.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], clients: Iterable[bytes]) -> None:
        self._clients = frozenset(z85.decode(key) for key in clients)
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(_ZAP_ADDRESS)
        self.refused = 0

    def handle(self) -> None:
        """Answer all waiting requests, without blocking."""
        while True:
            try:
                request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.socket.send_multipart(self._answer(request))

    def close(self) -> None:
        self.socket.close()

    def _answer(self, request: list[bytes]) -> list[bytes]:
        # version, request id, domain, address, identity, mechanism, credentials
        number = request[1] if len(request) > 1 else b""
        known = len(request) == 7 and request[5] == b"CURVE" and request[6] in self._clients
        if known:
            return [b"1.0", number, b"200", b"OK", b"client", b""]
        self.refused += 1
        return [b"1.0", number, b"400", b"not a listed client", b"", b""]
