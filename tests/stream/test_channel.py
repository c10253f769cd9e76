"""Channel: messages between two processes that can die or stop in the middle of one."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from stream.channel import Channel, ChannelClosed


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair()
    other = Channel(theirs)
    yield ours, other
    ours.close()
    other.close()


def receive(channel: Channel, count: int) -> list[object]:
    messages: list[object] = []
    while len(messages) < count and channel.wait(5.0):
        messages += channel.receive()
    return messages


def test_messages_arrive_in_order_and_whole(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    sent = [{"n": n, "payload": "x" * size} for n, size in enumerate([0, 1, 70_000, 3, 1_000_000, 2])]
    thread = threading.Thread(target=lambda: [other.send(message) for message in sent])
    thread.start()
    assert receive(ours, len(sent)) == sent
    thread.join()


def test_half_a_message_does_not_block_the_reader() -> None:
    ours, theirs = Channel.pair()
    with theirs:
        theirs.sendall(b"\x10\x00\x00\x00half")
        assert ours.wait(1.0)
        assert ours.receive() == []
    ours.close()


def test_nothing_to_read_is_an_empty_list(ends: tuple[Channel, Channel]) -> None:
    assert ends[0].receive() == []
    assert not ends[0].wait(0.0)


def test_what_was_sent_before_the_end_is_heard_first(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    other.send("last words")
    other.close()
    assert ours.receive() == ["last words"]
    with pytest.raises(ChannelClosed):
        ours.receive()


def test_sending_to_a_closed_end_says_so(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    other.close()
    with pytest.raises(ChannelClosed):
        ours.send("anybody?")


def test_sending_to_an_end_that_does_not_read_times_out(ends: tuple[Channel, Channel]) -> None:
    ours, _ = ends
    with pytest.raises(TimeoutError):
        ours.send(b"x" * 50_000_000, timeout_s=0.05)


def test_an_open_file_travels_with_its_message(ends: tuple[Channel, Channel]) -> None:
    ours, other = ends
    ours.send("plain")
    for text in (b"first", b"second"):
        reading, writing = os.pipe()
        os.write(writing, text)
        ours.send("file", reading)
        os.close(reading)
        os.close(writing)
    assert receive(other, 3) == ["plain", "file", "file"]
    for text in (b"first", b"second"):
        descriptor = other.descriptor()
        assert os.read(descriptor, 100) == text
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


def test_files_nobody_took_are_closed_with_the_channel() -> None:
    ours, theirs = Channel.pair()
    other = Channel(theirs)
    reading, writing = os.pipe()
    ours.send("file", writing)
    os.close(writing)
    other.wait(1.0)
    other.receive()
    other.close()
    assert os.read(reading, 1) == b""  # the last open copy of the pipe's other end is gone
    os.close(reading)
    ours.close()


def test_channel_is_a_socket_to_pollers(ends: tuple[Channel, Channel]) -> None:
    assert socket.socket(fileno=os.dup(ends[0].fileno())).close() is None
