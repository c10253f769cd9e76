"""The worker process: what it imports, how it ends, and that it never makes a camera wait for the core."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from stream import worker
from stream.channel import Channel
from stream.frame import StreamKey
from stream.messages import CameraFinished, CameraStatus, EpochEnded, StopWorker, WindowReady, WorkerAlive
from stream.pulse import HEART_BYTES
from stream.ring import SharedBlock
from stream.worker import Outbox

START = "import sys; from stream.worker import main; main(*map(int, sys.argv[1:]))"
STREAM = StreamKey("cam", "full")


def ready(n: int) -> WindowReady:
    return WindowReady(STREAM, 0, n, 0, n * 12)


def start(program: str, channel: socket.socket, stderr: int | None = None) -> subprocess.Popen[bytes]:
    heart = SharedBlock.create(HEART_BYTES)
    ends = [channel.fileno(), heart.descriptor]
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, ends)], pass_fds=ends, stderr=stderr)
    heart.close_descriptor()
    return process


@pytest.fixture
def started() -> Iterator[tuple[Channel, subprocess.Popen[bytes]]]:
    ours, theirs = Channel.pair()
    with theirs:
        process = start(START, theirs)
    yield ours, process
    process.kill()
    process.wait()
    ours.close()


def test_imports_nothing_heavy() -> None:
    heavy = {"torch", "openvino", "tensorrt", "pycuda", "onnx", "pydantic", "zmq", "engine", "rich", "typer"}
    code = "import sys, stream.worker; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "stream.worker" in imported
    assert heavy.isdisjoint(imported)


def test_says_that_it_is_alive(started: tuple[Channel, subprocess.Popen[bytes]]) -> None:
    channel, process = started
    assert channel.wait(20.0)
    (alive,) = channel.receive()
    assert isinstance(alive, WorkerAlive)
    assert alive.pid == process.pid
    assert alive.cpu_s > 0


def test_ends_when_told(started: tuple[Channel, subprocess.Popen[bytes]]) -> None:
    channel, process = started
    channel.send(StopWorker())
    assert process.wait(20.0) == 0


def test_ends_when_the_core_is_gone(started: tuple[Channel, subprocess.Popen[bytes]]) -> None:
    channel, process = started
    assert channel.wait(20.0)
    channel.close()
    assert process.wait(3.0) == 0


def test_ends_with_an_error_when_it_does_not_understand_the_core() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"\x04\x00\x00\x00nope")
        process = start(START, theirs, stderr=subprocess.PIPE)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"UnpicklingError" in error


STUCK = """
import ctypes, sys, threading
from stream import worker
worker.STUCK_S = 1
# A C function called without letting go of Python's lock, as a faulty decoder's binding would.
threading.Timer(0.5, ctypes.PyDLL(None).sleep, [60]).start()
worker.main(*map(int, sys.argv[1:]))
"""


def test_the_watchdog_ends_a_worker_whose_lock_is_held() -> None:
    ours, theirs = Channel.pair()
    with theirs:
        process = start(STUCK, theirs, stderr=subprocess.DEVNULL)
    try:
        assert process.wait(20.0) == 1
    finally:
        process.kill()
        process.wait()
        ours.close()


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """The core's end of a connection, and a worker's."""
    ours, theirs = Channel.pair()
    other = Channel(theirs)
    yield ours, other
    ours.close()
    other.close()


@pytest.fixture
def ours(ends: tuple[Channel, Channel]) -> Channel:
    return ends[0]


@pytest.fixture
def outbox(ends: tuple[Channel, Channel]) -> Outbox:
    return Outbox(ends[1])


def heard_until_closed(outbox: Outbox, channel: Channel) -> list[object]:
    """Close the outbox, and read what it still sends."""
    heard: list[object] = []
    closer = threading.Thread(target=outbox.close, args=[10.0])
    closer.start()
    while closer.is_alive() or channel.wait(0.0):
        heard += channel.receive() if channel.wait(0.01) else []
    return heard


def test_outbox_keeps_the_order(outbox: Outbox, ours: Channel) -> None:
    sent = [ready(n) for n in range(500)]
    for message in sent:
        outbox.tell(message)
    assert heard_until_closed(outbox, ours) == sent


def test_outbox_never_blocks_and_drops_only_what_it_may(outbox: Outbox, ours: Channel) -> None:
    """The core does not read: a camera goes on, windows and counters are dropped, the end of an epoch is not."""
    text = "x" * 1000
    started_s = time.monotonic()
    for n in range(5000):
        outbox.tell(ready(n))
        if n % 10 == 0:
            outbox.tell(CameraStatus("cam", "lost", text=text))
    ended = EpochEnded(STREAM, 0, "camera_lost", None)
    outbox.tell(ended)
    assert time.monotonic() - started_s < 5.0
    assert not outbox.broken
    heard = heard_until_closed(outbox, ours)
    assert heard[-1] == ended
    assert sum(isinstance(message, CameraStatus) for message in heard) == 500
    assert sum(isinstance(message, WindowReady) for message in heard) < 5000


def test_outbox_keeps_the_windows_of_a_file(outbox: Outbox, ours: Channel) -> None:
    """Its reader waits until each has been taken: one that is dropped would be waited for for ever."""
    for n in range(5000):
        outbox.tell(ready(n), lossless=True)
    heard = heard_until_closed(outbox, ours)
    assert heard == [ready(n) for n in range(5000)]


def test_outbox_gives_up_on_a_core_that_never_reads(outbox: Outbox) -> None:
    for n in range(10 * worker._BACKLOG + 10_000):
        outbox.tell(CameraFinished("cam", "failed", f"{n}" * 10))
    assert outbox.broken


def test_outbox_notices_that_the_core_is_gone(outbox: Outbox, ours: Channel) -> None:
    ours.close()
    outbox.tell(ready(0))
    outbox.close(5.0)
    assert outbox.broken
