"""The crowd at a service's sockets: subscribers that stop, vanish or talk nonsense."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import zmq

from stream.wire import EventMessage
from tests.program import Program, command_of


class Subscriber:
    """`swinstream subscribe --since first --json`, its events in a file."""

    def __init__(self, program: Program, addresses: dict[str, str], out: Path) -> None:
        self._out = out
        with out.open("wb") as file:
            self.process = subprocess.Popen(
                command_of(
                    "subscribe", addresses["events"], "--replay", addresses["replay"], "--since", "first", "--json"
                ),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=program.environment(),
            )

    def events(self) -> list[EventMessage]:
        lines = self._out.read_bytes().splitlines(keepends=True)
        return [EventMessage.parse(line) for line in lines if line.endswith(b"\n")]

    def until(self, count: int, timeout_s: float) -> None:
        """Wait for so many events, but not for ever."""
        deadline_s = time.monotonic() + timeout_s
        while len(self.events()) < count and time.monotonic() < deadline_s and self.process.poll() is None:
            time.sleep(0.1)

    def stop_reading(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20.0)


class Deaf:
    """A socket that subscribes and never reads, with hardly a buffer."""

    def __init__(self, address: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.linger, self._socket.rcvhwm, self._socket.rcvbuf = 0, 1, 4096
        self._socket.connect(address)
        self._socket.subscribe(b"")

    def close(self) -> None:
        self._socket.close()
        self._context.term()


def pester(address: str, chance: random.Random) -> None:
    """Connect, say something that no client should, and be gone."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 32)  # ZMTP 3.1
    words = [
        b"",
        os.urandom(chance.randrange(1, 5000)),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        greeting[: chance.randrange(1, len(greeting))],
        greeting + os.urandom(500),
        greeting + b"\x06" + (2**62).to_bytes(8, "big"),  # a frame of four exbibytes
    ]
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 2.0) as raw:
        raw.sendall(chance.choice(words))
        if chance.random() < 0.5:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset, not an end


def subscribe_to_everything(address: str, chance: random.Random) -> None:
    """Hundreds of subscriptions, at times huge ones among them, dropped again with the connection."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.SUB) as sub:
        sub.linger = 0
        sub.connect(address)
        longest = chance.choice([200, 1000])
        for _ in range(500):
            sub.subscribe(chance.randbytes(chance.choice([0, 1, 30, longest])))
        sub.subscribe(bytes(60_000))
        time.sleep(0.1)
