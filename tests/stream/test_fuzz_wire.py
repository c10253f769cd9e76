"""Whatever comes by a socket or lies in a journal's file: an answer or a clear error, no traceback, no flood."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream import feed
from stream.journal import Journal, JournalError
from stream.publish import Publisher
from stream.replay import Answer, ReplayClient, ReplayError
from stream.wire import EventMessage, HeartbeatMessage, Position, ReplayEnd, StatusMessage
from tests.event_publisher import publisher_in, turn
from tests.stream.test_journal import draft, whole

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def mutated(valid: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """JSON as it should be, but for one field that is missing or something else, or cut short somewhere."""
    text = json.dumps(valid)

    def changed(key: str, value: object, drop: bool) -> bytes:
        return json.dumps({k: v for k, v in (valid | {key: value}).items() if not (drop and k == key)}).encode()

    return (
        st.builds(changed, st.sampled_from(sorted(valid)), JSON, st.booleans())
        | st.integers(0, len(text)).map(lambda n: text[:n].encode())
        | JSON.map(lambda value: json.dumps(value).encode())
        | st.binary(max_size=300)
    )


# ---- the replay socket


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    with publisher_in(tmp_path_factory.mktemp("shared"), max_events=5) as made:
        for number in range(10):
            made.publish(whole(number))
        yield made


@pytest.fixture(scope="module")
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


REQUEST = {"after": {"run": "01J", "seq": 1}, "camera": "yard", "limit": 3}


@QUICK
@given(requests=st.lists(st.lists(mutated(REQUEST), min_size=1, max_size=3), max_size=3))
def test_the_replay_socket_answers_whatever_it_is_asked(
    publisher: Publisher, context: zmq.Context[zmq.Socket[bytes]], requests: list[list[bytes]]
) -> None:
    """By the real socket: every request has one answer, an error of a decent length or a page, and it goes on."""
    with context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(publisher.replay)
        for request in [*requests, [b'{"after": "last", "camera": null, "limit": 1}']]:
            dealer.send_multipart(request)
            frames: list[bytes] = []
            for _ in range(10):
                while len(frames) != 1 and not dealer.poll(0):
                    turn(publisher, 0.01)
                frames = dealer.recv_multipart()
                if len(frames) == 1:
                    break
            answer = json.loads(frames[0])
            assert set(answer) in ({"error"}, {"next", "more", "pruned_before"})
            assert len(frames[0]) < 1000
            assert "\n" not in answer.get("error", "")
    assert "next" in answer


# ---- what a client is told

EVENT = json.loads(EventMessage.place(draft(), "01J", 1, Position(run="01J", seq=0)).json_text())
BEAT = json.loads(HeartbeatMessage(run="01J", seq=3, last={"yard": Position(run="01J", seq=3)}).json_text())
STATUS = json.loads(StatusMessage(run="01J", camera="yard", state="live", time="2026-11-24T11:00:00.000Z").json_text())
END = json.loads(ReplayEnd(next=Position(run="01J", seq=1), more=False, pruned_before=None).json_text())


@QUICK
@given(
    frames=st.lists(st.binary(max_size=50), min_size=1, max_size=3)
    | st.tuples(st.just(b"event/yard/full/walk"), mutated(EVENT)).map(list)
    | st.tuples(st.just(b"heartbeat"), mutated(BEAT)).map(list)
    | st.tuples(st.just(b"status/yard"), mutated(STATUS)).map(list)
)
def test_a_client_passes_over_what_makes_no_sense(frames: list[bytes]) -> None:
    message = feed.parsed(frames)
    assert message is None or message.json_text()


class FalseReplay:
    """A replay socket that answers every request with the same messages."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.answer: list[list[bytes]] = []
        self._router = self.context.socket(zmq.ROUTER)
        self.port = self._router.bind_to_random_port("tcp://127.0.0.1")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._router.poll(20):
                client, *_ = self._router.recv_multipart()
                for frames in self.answer:
                    self._router.send_multipart([client, *frames])

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self.context.destroy(linger=0)


@pytest.fixture(scope="module")
def false_replay() -> Iterator[FalseReplay]:
    with closing(FalseReplay()) as made:
        yield made


def ask(server: FalseReplay, limit: int = 3) -> Answer:
    client = ReplayClient(server.context, f"tcp://127.0.0.1:{server.port}")
    try:
        return client.ask("first", None, limit, timeout_s=0.01)
    finally:
        client.close()


@settings(QUICK, max_examples=30)
@given(
    answer=st.lists(
        st.tuples(st.just(b"event/yard/full/walk"), mutated(EVENT)).map(list)
        | st.tuples(mutated(END)).map(list)
        | st.lists(st.binary(max_size=20), min_size=1, max_size=4),
        max_size=4,
    )
)
def test_a_replay_that_makes_no_sense_is_one_error(false_replay: FalseReplay, answer: list[list[bytes]]) -> None:
    false_replay.answer = answer
    error = ""
    try:
        ask(false_replay)
    except ReplayError as refused:
        error = str(refused)
    assert "\n" not in error
    assert len(error) < 1000


def test_a_replay_that_never_ends_is_cut_off(false_replay: FalseReplay) -> None:
    event = [b"event/yard/full/walk", json.dumps(EVENT).encode()]
    false_replay.answer = [event] * 4 + [[json.dumps(END).encode()]]
    with pytest.raises(ReplayError, match="more than it was asked for"):
        ask(false_replay, limit=3)


# ---- a journal's file


@pytest.fixture(scope="module")
def journal_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "events.sqlite3"
    with closing(Journal(path)) as journal:
        for number in range(30):
            journal.append(whole(number))
        journal.append([draft(number=99)])  # left open
        journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return path.read_bytes()


@settings(QUICK, max_examples=25)
@given(data=st.data())
def test_a_damaged_journal_is_refused_or_read(
    journal_bytes: bytes, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    damaged = bytearray(journal_bytes)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=40)):
        damaged[at] = value
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    path = tmp_path_factory.mktemp("damaged") / "events.sqlite3"
    path.write_bytes(damaged)
    error = ""
    try:
        with closing(Journal(path)) as journal:
            journal.append(whole(1))
            journal.read("first", None, 1000)
            journal.prune()
    except JournalError as refused:
        error = str(refused)
    assert "\n" not in error
    if path.exists():  # and asked to, it always begins anew
        with closing(Journal(path, move_aside=True)) as journal:
            journal.append(whole(1))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE open_events SET message = substr(message, 30)",
        "UPDATE open_events SET message = CAST(x'ff' AS TEXT)",
        "UPDATE cameras SET seq = 'x'",
        "UPDATE runs SET run = 'zzz'",
        "DROP TABLE cameras",
    ],
)
def test_values_that_cannot_be(tmp_path: Path, journal_bytes: bytes, damage: str) -> None:
    """The file is a whole database; what stands in it makes no sense."""
    path = tmp_path / "events.sqlite3"
    path.write_bytes(journal_bytes)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(damage)
    with pytest.raises(JournalError, match="is damaged") as caught:
        Journal(path)
    assert "\n" not in str(caught.value)
    with closing(Journal(path, move_aside=True)) as journal:
        journal.append(whole(1))


@pytest.mark.parametrize("tail", [b"", b"\0" * 5000, b"\xff" * 5000])
def test_a_log_that_was_cut_or_overwritten(tmp_path: Path, tail: bytes) -> None:
    """Of the -wal file: what was whole before the damage is there, nothing after it, and it is written on."""
    path, log = tmp_path / "events.sqlite3", tmp_path / "events.sqlite3-wal"
    journal = Journal(path)
    journal._db.execute("PRAGMA wal_autocheckpoint = 0")
    for number in range(50):
        journal.append(whole(number))
    image, whole_log = path.read_bytes(), log.read_bytes()
    journal._lock.release()
    journal._db.close()
    path.write_bytes(image)
    log.write_bytes(whole_log[: len(whole_log) // 2] + tail)
    with closing(Journal(path)) as journal:
        events = [EventMessage.parse(text) for _, text in journal.read("first", None, 1000).events]
        seqs = [event.seq for event in events if event.run != journal.run]
        assert seqs == list(range(1, len(seqs) + 1))
        assert 10 < len(seqs) < 100
        assert journal.append(whole(1))
