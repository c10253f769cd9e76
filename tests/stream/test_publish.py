"""Publisher, heard and asked by plain pyzmq clients: what is on the wire is the contract."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from stream.failure import ErrorClass
from stream.journal import Journal
from stream.publish import (
    MAX_FRAME_BYTES,
    MAX_REQUEST_BYTES,
    MAX_TOPIC_BYTES,
    RETURN_NS,
    Publisher,
    PublishError,
)
from stream.security import SecurityError
from stream.wire import EventDraft, EventMessage
from tests.event_publisher import Feed, publisher_in, turn


class Client:
    """A plain subscriber and DEALER, driven in turn with the publisher."""

    def __init__(self, publisher: Publisher, prefix: bytes = b"") -> None:
        self.publisher = publisher
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sub = self.context.socket(zmq.SUB)
        self.dealer = self.context.socket(zmq.DEALER)
        self.sub.connect(publisher.address)
        self.sub.subscribe(prefix)
        self.dealer.connect(publisher.replay)

    def settle(self) -> None:
        """Until the subscription has arrived."""
        probe = self.context.socket(zmq.SUB)
        probe.connect(self.publisher.address)
        probe.subscribe(b"heartbeat")
        deadline = time.monotonic() + 10
        while not probe.poll(10):  # the probe subscribed later than we did
            assert time.monotonic() < deadline
            self.publisher._due_ns["heartbeat"] = 0
            self.publisher.tick()
        probe.close()
        time.sleep(0.05)
        while self.sub.poll(0):
            self.sub.recv_multipart()

    def hear(self, timeout_s: float = 0.3) -> list[tuple[str, Any]]:
        """All that has been published, up to a pause."""
        heard = []
        while self.sub.poll(round(timeout_s * 1000)):
            topic, text = self.sub.recv_multipart()
            heard.append((topic.decode(), json.loads(text)))
        return heard

    def ask(self, *request: bytes) -> list[list[bytes]]:
        """The messages of the answer, up to and with the closing one."""
        self.dealer.send_multipart(list(request))
        answer: list[list[bytes]] = []
        deadline = time.monotonic() + 10
        while not answer or len(answer[-1]) != 1:
            assert time.monotonic() < deadline, "no answer"
            turn(self.publisher)
            while self.dealer.poll(0):
                answer.append(self.dealer.recv_multipart())
        return answer

    def ask_json(self, **request: Any) -> tuple[list[Any], Any]:
        *events, end = self.ask(json.dumps(request).encode())
        return [json.loads(text) for _, text in events], json.loads(end[0])

    def close(self) -> None:
        self.context.destroy(linger=0)


@contextmanager
def publisher_and_client(folder: Path, **options: Any) -> Iterator[tuple[Publisher, Client]]:
    with publisher_in(folder, **options) as publisher, closing(Client(publisher)) as client:
        client.settle()
        yield publisher, client


def fill(publisher: Publisher, events: int, camera: str = "yard") -> None:
    feed = Feed(camera, seed=1)
    sent = 0
    while sent < events:
        drafts = feed.drafts()[: events - sent]
        publisher.publish(drafts)
        sent += len(drafts)


def whole_event() -> list[EventDraft]:
    feed = Feed("yard", seed=1)
    drafts: list[EventDraft] = []
    while not drafts:
        drafts = feed.drafts()
    return drafts + feed.finish()


def leave_open(folder: Path) -> str:
    """A journal as a killed process leaves it, with one event open; its id."""
    journal = Journal(folder / "events.sqlite3")
    feed = Feed("yard", seed=1)
    messages: list[EventMessage] = []
    while not messages:
        messages = journal.append(feed.drafts())
    journal._db.close()
    journal._lock.release()
    return messages[-1].id


class TestPublish:
    def test_two_frames_topic_and_json_as_in_the_journal(self, tmp_path: Path) -> None:
        with publisher_and_client(tmp_path) as (publisher, client):
            fill(publisher, 5)
            heard = [(topic, told) for topic, told in client.hear() if topic.startswith("event/")]
            assert [told["seq"] for _, told in heard] == [1, 2, 3, 4, 5]
            assert all(topic == f"event/yard/full/{told['label']}" for topic, told in heard)
            events, _ = client.ask_json(after="first", camera=None, limit=100)
            assert events == [told for _, told in heard]

    def test_total_latency_runs_from_arrival_to_sending(self, tmp_path: Path) -> None:
        now_ns = 1_000_000_000
        with publisher_in(tmp_path, clock_ns=lambda: now_ns) as publisher:
            feed = Feed("yard", seed=1)
            while not (drafts := feed.drafts()):
                pass
            drafts = [d.model_copy(update={"arrival_ns": now_ns - 41_040_000}) for d in drafts]
            (message, *_) = publisher.publish(drafts)
            assert message.latency_ms.model_dump() == {"queue": 1.0, "infer": 2.0, "total": 41.0}

    def test_nothing_is_written_for_nothing(self, tmp_path: Path) -> None:
        with publisher_in(tmp_path) as publisher:
            assert publisher.publish([]) == []

    @pytest.mark.parametrize("sooner", [False, True])
    def test_the_ends_of_a_killed_run_are_sent_first_when_subscribers_are_back(
        self, tmp_path: Path, sooner: bool
    ) -> None:
        left_open = leave_open(tmp_path)
        now_ns = 0
        with (
            publisher_in(tmp_path, clock_ns=lambda: now_ns) as publisher,
            closing(Client(publisher, b"event/")) as client,
        ):
            client.settle()
            assert client.hear(0.1) == []
            begun = publisher.publish(whole_event()) if sooner else []
            now_ns += RETURN_NS
            publisher.tick()
            heard = [told for _, told in client.hear()]
            assert (heard[0]["id"], heard[0]["phase"], heard[0]["reason"]) == (left_open, "end", "crashed")
            assert [told["seq"] for told in heard] == list(range(1, 2 + len(begun)))
            now_ns += 10 * RETURN_NS
            publisher.tick()
            assert client.hear(0.1) == []  # once

    def test_the_ends_of_a_killed_run_are_replayed_from_the_start(self, tmp_path: Path) -> None:
        leave_open(tmp_path)
        with publisher_in(tmp_path) as publisher, closing(Client(publisher)) as client:
            beginning = {"run": publisher._journal.run, "seq": 0}
            ((crashed,), end) = client.ask_json(after=beginning, camera=None, limit=9)
            assert (crashed["phase"], crashed["reason"], crashed["seq"]) == ("end", "crashed", 1)
            assert end["next"] == beginning | {"seq": 1}


class TestHeartbeat:
    def test_every_second_with_the_last_event_of_each_camera(self, tmp_path: Path) -> None:
        now_ns = 50 * 10**9
        with publisher_in(tmp_path, clock_ns=lambda: now_ns) as publisher, closing(Client(publisher)) as client:
            client.settle()
            fill(publisher, 2, "yard")
            fill(publisher, 3, "gate")
            client.hear(0.1)
            beats = []
            for _ in range(40):
                now_ns += 100_000_000
                publisher.tick()
            beats = [told for topic, told in client.hear() if topic == "heartbeat"]
            run = publisher._journal.run
            assert len(beats) == 4
            assert beats[0] == {
                "run": run,
                "seq": 5,
                "last": {"yard": {"run": run, "seq": 2}, "gate": {"run": run, "seq": 5}},
            }

    def test_tick_says_when_it_is_due_again_and_sends_no_volley_after_a_pause(self, tmp_path: Path) -> None:
        now_ns = 0
        with publisher_in(tmp_path, clock_ns=lambda: now_ns) as publisher, closing(Client(publisher)) as client:
            client.settle()
            assert publisher.tick() <= 1.0
            now_ns += 3600 * 10**9
            for _ in range(5):
                publisher.tick()
            assert [topic for topic, _ in client.hear()] == ["heartbeat"]


class TestStatus:
    def test_new_ones_at_once_and_all_again_after_ten_seconds(self, tmp_path: Path) -> None:
        now_ns = 0
        clocks = {"clock_ns": lambda: now_ns, "utc_ns": lambda: 1_795_518_000 * 10**9 + now_ns}
        with publisher_in(tmp_path, **clocks) as publisher, closing(Client(publisher, b"status/")) as client:
            client.settle()
            publisher.status("yard", "connecting")
            publisher.status("yard", "live", fps=14.987)
            publisher.status("yard", "live", fps=15.2)  # nothing new but fps
            publisher.status("gate", "lost", error=ErrorClass.AUTH, message="wrong password", next_try_s=60)
            heard = client.hear()
            assert [(topic, told["state"]) for topic, told in heard] == [
                ("status/yard", "connecting"),
                ("status/yard", "live"),
                ("status/gate", "lost"),
            ]
            assert heard[1][1]["fps"] == 14.99
            assert heard[2][1] == {
                "schema": "swinstream.status/1",
                "run": publisher._journal.run,
                "camera": "gate",
                "state": "lost",
                "error": "auth",
                "message": "wrong password",
                "next_try": "2026-11-24T11:01:00.000Z",
                "fps": None,
                "time": "2026-11-24T11:00:00.000Z",
            }
            publisher.forget("gate")
            now_ns += 10 * 10**9
            publisher.tick()
            ((topic, told),) = client.hear()
            assert (topic, told["fps"], told["time"]) == ("status/yard", 15.2, "2026-11-24T11:00:10.000Z")


class TestReplay:
    def test_pages_and_cameras(self, tmp_path: Path) -> None:
        with publisher_and_client(tmp_path) as (publisher, client):
            fill(publisher, 3, "yard")
            fill(publisher, 2, "gate")
            run = publisher._journal.run
            events, end = client.ask_json(after="first", camera=None, limit=2)
            assert [e["seq"] for e in events] == [1, 2]
            assert end == {"next": {"run": run, "seq": 2}, "more": True, "pruned_before": None}
            events, end = client.ask_json(after=end["next"], camera="gate", limit=2)
            assert [e["seq"] for e in events] == [4, 5]
            assert (end["next"], end["more"]) == ({"run": run, "seq": 5}, False)
            assert client.ask_json(after="last", camera=None, limit=2) == ([], end)

    def test_a_client_gets_no_more_than_the_publisher_allows(self, tmp_path: Path) -> None:
        with publisher_and_client(tmp_path, max_events=4) as (publisher, client):
            fill(publisher, 9)
            events, end = client.ask_json(after="first", camera=None, limit=10**12)
            assert (len(events), end["more"]) == (4, True)

    @pytest.mark.parametrize(
        ("request_", "error"),
        [
            ([b""], "JSON"),
            ([b"{}"], "after: Field required"),
            ([b'{"after": "first", "camera": null, "limit": 0}'], "limit"),
            ([b'{"after": {"run": "R", "seq": 1}, "camera": null, "limit": 1}'], "no such run"),
            ([b"", b'{"after": "first", "camera": null, "limit": 1}'], "one frame"),
            ([b" " * (MAX_REQUEST_BYTES + 1)], f"{MAX_REQUEST_BYTES} bytes"),
        ],
    )
    def test_an_error_is_one_frame(self, tmp_path: Path, request_: list[bytes], error: str) -> None:
        with publisher_and_client(tmp_path) as (_, client):
            ((frame,),) = client.ask(*request_)
            assert set(json.loads(frame)) == {"error"}
            assert error in json.loads(frame)["error"]
            assert client.ask_json(after="last", camera=None, limit=1)[0] == []  # and it still serves

    def test_a_frame_that_is_huge_costs_the_connection_and_nothing_else(self, tmp_path: Path) -> None:
        with publisher_and_client(tmp_path) as (publisher, client):
            client.dealer.send(b" " * (MAX_FRAME_BYTES + 1))
            for _ in range(20):
                turn(publisher)
            client.dealer.close()
            client.dealer = client.context.socket(zmq.DEALER)
            client.dealer.connect(publisher.replay)
            assert client.ask_json(after="last", camera=None, limit=1)[0] == []

    def test_clients_that_ask_and_do_not_read_do_not_hold_up_the_publisher(self, tmp_path: Path) -> None:
        with publisher_and_client(tmp_path, max_events=100) as (publisher, client):
            fill(publisher, 100)
            greedy = client.context.socket(zmq.DEALER)
            greedy.rcvhwm = 1
            greedy.setsockopt(zmq.RCVBUF, 4096)
            greedy.connect(publisher.replay)
            longest_s = 0.0
            for _ in range(300):
                greedy.send_json({"after": "first", "camera": None, "limit": 100}, zmq.NOBLOCK)
                begun_s = time.monotonic()
                turn(publisher, 0.0)
                longest_s = max(longest_s, time.monotonic() - begun_s)
            assert longest_s < 2.0
            assert len(client.ask_json(after="first", camera=None, limit=100)[0]) == 100

    def test_a_client_that_asks_for_much_takes_neither_the_publishers_time_nor_others_turns(
        self, tmp_path: Path
    ) -> None:
        with publisher_and_client(tmp_path) as (publisher, client):
            fill(publisher, 1000)
            greedy = client.context.socket(zmq.DEALER)
            greedy.rcvhwm = 0
            greedy.connect(publisher.replay)
            for _ in range(90):
                greedy.send_json({"after": "first", "camera": None, "limit": 1000})
            while not publisher.sockets()[0].poll(1000):
                pass
            time.sleep(0.1)  # all are there
            client.dealer.send_json({"after": "first", "camera": None, "limit": 1})
            time.sleep(0.1)
            longest_s, turns = 0.0, 0
            while not client.dealer.poll(50):
                begun_s, turns = time.thread_time(), turns + 1
                publisher.handle_requests()
                longest_s = max(longest_s, time.thread_time() - begun_s)
            assert turns <= 3
            assert longest_s < 0.02 + 0.1  # what is left of it, and one answer
            assert publisher.sockets()[0].poll(0)  # the others wait


def test_a_subscriber_that_does_not_read_loses_live_messages_only(tmp_path: Path) -> None:
    with publisher_and_client(tmp_path, queue=10) as (publisher, client):
        stuck = client.context.socket(zmq.SUB)
        stuck.rcvhwm = 1
        stuck.setsockopt(zmq.RCVBUF, 2048)
        stuck.connect(publisher.address)
        stuck.subscribe(b"")
        client.settle()
        fill(publisher, 1500)
        assert publisher._journal.head.seq == 1500
        seen = 0
        while stuck.poll(300):
            stuck.recv_multipart()
            seen += 1
        assert 0 < seen < 1500
        after: Any = "first"
        got: list[int] = []
        more = True
        while more:
            events, end = client.ask_json(after=after, camera=None, limit=1000)
            got += [e["seq"] for e in events]
            after, more = end["next"], end["more"]
        assert got == list(range(1, 1501))


def test_a_full_disk_does_not_keep_the_loop_turning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old events are not deleted meanwhile; that this has long been due must not be a reason to turn again."""
    now_ns, waits_s = 0, []
    with publisher_in(tmp_path, clock_ns=lambda: now_ns) as publisher:
        monkeypatch.setattr(publisher._journal, "_write", lambda *_: False)
        monkeypatch.setattr(publisher._journal, "trouble", "the disk is full")
        for tenth in range(300):
            now_ns = tenth * 100_000_000
            waits_s.append(publisher.tick())
    assert min(waits_s) > 0.05


class TestSubscriptions:
    @pytest.mark.parametrize(("length", "lost"), [(MAX_TOPIC_BYTES - 32, False), (MAX_TOPIC_BYTES + 1, True)])
    def test_one_longer_than_any_topic_costs_the_connection(self, tmp_path: Path, length: int, lost: bool) -> None:
        with publisher_and_client(tmp_path) as (publisher, client), client.context.socket(zmq.SUB) as strange:
            strange.linger = 0
            monitor = strange.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            strange.connect(publisher.address)
            strange.subscribe(b"x" * length)
            deadline = time.monotonic() + (5.0 if lost else 1.0)
            while not (cut := bool(monitor.poll(50))) and time.monotonic() < deadline:
                turn(publisher)
            assert cut == lost
            fill(publisher, 1)
            assert client.hear()
            strange.disable_monitor()


class TestRefusals:
    def test_a_taken_port(self, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            for option in ("address", "replay"):
                with (
                    pytest.raises(PublishError, match="another program has this port") as caught,
                    publisher_in(tmp_path, **{option: address}),
                ):
                    pass
                assert address in str(caught.value)
                assert {"address": "--publish", "replay": "--replay"}[option] in str(caught.value)

    @pytest.mark.parametrize(
        "address", ["tcp://127.0.0.1", "tcp://127.0.0.1:x", "tcp://127.0.0.1:99999", "tcp://localhost:"]
    )
    def test_an_address_that_is_none(self, tmp_path: Path, address: str) -> None:
        with pytest.raises(PublishError, match="expected"), publisher_in(tmp_path, address=address):
            pass

    def test_the_network_without_keys(self, tmp_path: Path) -> None:
        with pytest.raises(SecurityError), publisher_in(tmp_path, replay="tcp://0.0.0.0:0"):
            pass
        with publisher_in(tmp_path, replay="tcp://0.0.0.0:0", allow_plaintext=True) as publisher:
            assert publisher.replay.startswith("tcp://0.0.0.0:")
