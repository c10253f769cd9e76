"""Addresses to listen at. libzmq takes `tcp://127.0.0.1:99999` without a word and uses port 34463: hence the checks."""

from __future__ import annotations

import ipaddress
import re

_TCP = re.compile(r"^tcp://(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9._-]+|\*):(?P<port>\d{1,5}|\*)$")
_HOST_PORT = re.compile(r"^(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})$")
_LOCAL = re.compile(r"^(?:ipc|inproc)://\S+$")


class AddressError(ValueError):
    """An address that cannot be meant."""


def replay_address(address: str) -> str | None:
    """Where a publisher's replay is unless told otherwise: the port after its PUB socket's; None if there is none.

    For a PUB socket that takes any free port, the replay takes one too.
    """
    head, _, port = address.rpartition(":")
    if not address.startswith("tcp://"):
        return None
    if port in {"0", "*"}:
        return address
    return f"{head}:{int(port) + 1}" if port.isdigit() and int(port) < 65535 else None


def check_address(address: str, *, to_bind: bool) -> None:
    """Raises AddressError. to_bind: `*` may stand for the host or the port, and port 0 for any free one."""
    if _LOCAL.match(address):
        return
    match = _TCP.match(address)
    if match is None or ("*" in address and not to_bind):
        raise AddressError(f"{address!r} is no address: expected tcp://HOST:PORT, such as tcp://127.0.0.1:5556")
    port = match["port"]
    if port != "*" and not (0 if to_bind else 1) <= int(port) <= 65535:
        raise AddressError(f"{address!r} has no valid port: expected 1 to 65535")


def host_and_port(address: str) -> tuple[str, int]:
    """Of `HOST:PORT`, where an IPv6 host stands in brackets. Raises AddressError."""
    match = _HOST_PORT.match(address)
    if match is None or not int(match["port"]) <= 65535:
        raise AddressError(f"{address!r} is no address: expected HOST:PORT, such as 127.0.0.1:9464")
    return match["host"].strip("[]"), int(match["port"])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
