"""The client against real publishers: in threads, in processes that are killed, behind a relay that loses messages."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from stream import feed as feed_module
from stream import subscribe
from stream import subscription as subscription_module
from stream.journal import Journal, Retention
from stream.publish import Publisher
from stream.security import ClientCurve, KeyPair, ServerCurve
from stream.sequence import Gap
from stream.subscription import Item, SubscribeError, Subscription
from stream.wire import EventMessage, HeartbeatMessage, Position, StatusMessage
from tests.event_publisher import Feed, PublisherThread, free_addresses, publisher_in

ROOT = Path(__file__).parents[2]

Addresses = tuple[str, str]


def ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True


@pytest.fixture
def addresses() -> Addresses:
    return free_addresses()


class Collector:
    """Iterates a subscription in a thread, until it has what was expected."""

    def __init__(self, items: Callable[[threading.Event], Iterator[Item]]) -> None:
        self.items: list[Item] = []
        self.gaps: list[Gap] = []
        self.stop = threading.Event()
        self._error: BaseException | None = None
        self._begun = threading.Event()

        def run() -> None:
            try:
                iterator = items(self.stop)
                self._begun.set()
                for item in iterator:
                    (self.gaps if isinstance(item, Gap) else self.items).append(item)  # type: ignore[arg-type]
            except BaseException as error:  # noqa: BLE001 - shown in the test's own thread
                self._error = error
            finally:
                self._begun.set()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        self._begun.wait()

    @property
    def events(self) -> list[EventMessage]:
        return [item for item in self.items if isinstance(item, EventMessage)]

    def until(self, condition: Callable[[], bool], timeout_s: float = 40) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._error:
                raise self._error
            assert time.monotonic() < deadline, f"still waiting; {len(self.events)} events, gaps {self.gaps}"
            time.sleep(0.02)

    def close(self) -> None:
        self.stop.set()
        self._thread.join()
        if self._error:
            raise self._error

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()


def collect(address: str, **options: object) -> Collector:
    return Collector(lambda stop: subscribe.messages(address, stop=stop, **options))  # type: ignore[arg-type]


def connected(client: Collector) -> None:
    client.until(lambda: any(isinstance(item, HeartbeatMessage) for item in client.items))


class Relay:
    """Passes a publisher's messages on, on an address of its own, but for those that `loses` takes."""

    def __init__(self, source: str, loses: Callable[[list[bytes]], bool]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sub = self._context.socket(zmq.SUB)
        self._sub.subscribe(b"")
        self._sub.connect(source)
        self._pub = self._context.socket(zmq.PUB)
        self._pub.bind("tcp://127.0.0.1:0")
        bound = self._pub.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(bound, bytes)
        self.address = bound.rstrip(b"\0").decode()
        self.loses = loses
        self.lost = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._sub.poll(20):
                frames = self._sub.recv_multipart()
                if self.loses(frames):
                    self.lost += 1
                else:
                    self._pub.send_multipart(frames)

    def send(self, *frames: bytes) -> None:
        """Something of its own. (A socket is one thread's: only while nothing else passes.)"""
        self._pub.send_multipart(frames)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._context.destroy(linger=0)


def is_event(frames: list[bytes]) -> bool:
    return frames[0].startswith(b"event/")


# ---- one publisher


@pytest.mark.parametrize("replay", ["auto", None])
def test_a_camera_whose_last_event_is_of_a_run_before(tmp_path: Path, addresses: Addresses, replay: str | None) -> None:
    """A client that comes then has missed nothing, and misses nothing."""
    with PublisherThread(tmp_path, addresses) as server:
        server.fill(5)
    with (
        PublisherThread(tmp_path, addresses) as server,
        collect(addresses[0], camera="yard", replay=replay) as client,
    ):
        client.until(lambda: sum(isinstance(item, HeartbeatMessage) for item in client.items) >= 2)
        sent = server.fill(10)
        client.until(lambda: len(client.events) >= len(sent))
        assert client.events == sent
        assert client.gaps == []


class TestLive:
    def test_from_now_on(self, tmp_path: Path, addresses: Addresses) -> None:
        with PublisherThread(tmp_path, addresses) as server:
            server.fill(10)
            with collect(addresses[0]) as client:
                connected(client)
                sent = server.fill(10)
                client.until(lambda: len(client.events) >= len(sent))
                assert client.events == sent

    def test_from_the_first(self, tmp_path: Path, addresses: Addresses) -> None:
        with PublisherThread(tmp_path, addresses) as server:
            sent = server.fill(1200)  # more than a page
            with collect(addresses[0], since="first") as client:
                sent += server.fill(20)
                client.until(lambda: len(client.events) >= len(sent))
                assert client.events == sent

    def test_from_a_position_in_whatever_form(self, tmp_path: Path, addresses: Addresses) -> None:
        with PublisherThread(tmp_path, addresses) as server:
            sent = server.fill(20)
            for since in (sent[9].position, str(sent[9].position), (server.run, 10)):
                got = list(subscribe.events(addresses[0], since=since, timeout_s=0.5))  # type: ignore[arg-type]
                assert got == sent[10:]

    def test_one_camera_and_one_label(self, tmp_path: Path, addresses: Addresses) -> None:
        with PublisherThread(tmp_path, addresses) as server:
            with collect(addresses[0], camera="yard", since="first") as client:
                sent = server.fill(30, "yard") + server.fill(30, "yard-2") + server.fill(31, "yard")
                yard = [m for m in sent if m.camera == "yard"]
                client.until(lambda: len(client.events) >= len(yard))
                assert client.events == yard
                assert client.gaps == []
            walks = [m for m in sent if m.label == "walk"]
            assert list(subscribe.events(addresses[0], label="walk", since="first", timeout_s=0.5)) == walks
            both = subscribe.events(addresses[0], camera="yard-2", label="walk", since="first", timeout_s=0.5)
            assert list(both) == [m for m in walks if m.camera == "yard-2"]

    def test_a_subscriber_that_came_before_the_publisher_gets_its_whole_run(
        self, tmp_path: Path, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subscription_module, "ANSWER_S", 0.3)
        with PublisherThread(tmp_path, addresses) as server:
            server.fill(10)
        asked = threading.Event()
        monkeypatch.setattr(subscription_module.log, "info", lambda *_: asked.set())
        with collect(addresses[0]) as client:
            assert asked.wait(10)
            with PublisherThread(tmp_path, addresses) as server:
                sent = server.fill(10)
                client.until(lambda: len(client.events) >= len(sent))
                assert client.events == sent

    def test_a_publisher_that_came_later_and_died_before_it_was_asked(
        self, tmp_path: Path, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subscription_module, "ANSWER_S", 0.2)
        handle, deaf = Publisher.handle_requests, True
        monkeypatch.setattr(Publisher, "handle_requests", lambda self: 0 if deaf else handle(self))
        subscription = Subscription(addresses[0])
        with Collector(lambda stop: subscription.messages(stop=stop)) as client:
            with PublisherThread(tmp_path, addresses) as server:
                client.until(lambda: subscription._state == "owed")
                sent = server.fill(10)
                client.until(lambda: len(subscription._held) > 0)
            deaf = False
            with PublisherThread(tmp_path, addresses) as server:
                sent += server.fill(10)
                client.until(lambda: len(client.events) >= len(sent))
            client.close()
            assert client.events == sent
            assert client.gaps == []
        subscription.close()

    def test_statuses(self, tmp_path: Path, addresses: Addresses) -> None:
        with PublisherThread(tmp_path, addresses) as server, collect(addresses[0], camera="yard") as client:
            connected(client)
            server.call(lambda publisher: publisher.status("yard-2", "live"))
            server.call(lambda publisher: publisher.status("yard", "live", fps=15.0))
            client.until(lambda: any(isinstance(item, StatusMessage) for item in client.items))
            (status,) = [item for item in client.items if isinstance(item, StatusMessage)]
            assert (status.camera, status.state, status.fps) == ("yard", "live", 15.0)

    def test_ends_after_a_time_without_events(self, tmp_path: Path, addresses: Addresses) -> None:
        with PublisherThread(tmp_path, addresses):
            begun_s = time.monotonic()
            assert list(subscribe.events(addresses[0], timeout_s=1.5)) == []
            assert 1.5 <= time.monotonic() - begun_s < 10

    def test_ends_without_a_publisher_too(self, addresses: Addresses) -> None:
        assert list(subscribe.messages(addresses[0], replay=None, timeout_s=0.2)) == []

    def test_stop(self, addresses: Addresses) -> None:
        stop = threading.Event()
        stop.set()
        assert list(subscribe.messages(addresses[0], stop=stop)) == []

    def test_a_slow_consumer_gets_everything(
        self, tmp_path: Path, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subscription_module, "QUEUE", 5)
        monkeypatch.setattr(feed_module, "QUEUE", 5)
        with (
            PublisherThread(tmp_path, addresses, queue=5) as server,
            Subscription(addresses[0], since="first") as subscription,
        ):
            sent = server.fill(2)
            events = subscription.events(timeout_s=5)
            got = [next(events)]
            sent += server.fill(600)
            got += [next(events) for _ in sent[1:]]
            assert got == sent
            assert subscription.position == sent[-1].position


# ---- messages that get lost


class TestRelay:
    def test_what_is_lost_on_the_way_is_filled_in(self, tmp_path: Path, addresses: Addresses) -> None:
        chance = random.Random(7)
        with (
            PublisherThread(tmp_path, addresses) as server,
            Relay(addresses[0], lambda frames: is_event(frames) and chance.random() < 0.3) as relay,
            collect(relay.address, replay=addresses[1]) as everything,
            collect(relay.address, replay=addresses[1], camera="yard") as yard,
        ):
            connected(everything)
            connected(yard)
            sent = [message for n in range(20) for message in server.fill(10, ["yard", "gate"][n % 2])]
            everything.until(lambda: len(everything.events) >= len(sent))
            assert everything.events == sent
            of_yard = [m for m in sent if m.camera == "yard"]
            yard.until(lambda: len(yard.events) >= len(of_yard))
            assert yard.events == of_yard
            assert relay.lost > 20
            assert everything.gaps == yard.gaps == []

    def test_a_heartbeat_tells_that_the_last_one_is_missing(self, tmp_path: Path, addresses: Addresses) -> None:
        with (
            PublisherThread(tmp_path, addresses) as server,
            Relay(addresses[0], is_event) as relay,
            collect(relay.address, replay=addresses[1]) as everything,
            collect(relay.address, replay=addresses[1], camera="yard") as yard,
        ):
            connected(everything)
            connected(yard)
            sent = server.fill(10)
            everything.until(lambda: everything.events == sent)
            yard.until(lambda: yard.events == sent)

    def test_without_replay_gaps_are_told_and_the_rest_is_given(self, tmp_path: Path, addresses: Addresses) -> None:
        numbers = iter(range(10**6))
        with (
            PublisherThread(tmp_path, addresses) as server,
            Relay(addresses[0], lambda frames: is_event(frames) and next(numbers) % 5 == 4) as relay,
            collect(relay.address, replay=None) as client,
        ):
            connected(client)
            sent = server.fill(28)
            kept = [m for n, m in enumerate(sent) if n % 5 != 4]
            client.until(lambda: len(client.events) >= len(kept))
            assert client.events == kept
            assert [gap.before.seq - 1 for gap in client.gaps] == [m.seq for m in sent[4 : len(sent) - 1 : 5]]
            assert "no replay socket" in str(client.gaps[0])

    def test_a_silent_replay_is_a_gap_after_some_tries_and_no_standstill(
        self, tmp_path: Path, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subscription_module, "ANSWER_S", 0.1)
        silent = False
        with (
            PublisherThread(tmp_path, addresses) as server,
            Relay(addresses[0], lambda frames: is_event(frames) and b'"seq":3,' in frames[1]) as relay,
            collect(relay.address, replay=addresses[1]) as client,
        ):
            connected(client)
            handle = Publisher.handle_requests
            monkeypatch.setattr(Publisher, "handle_requests", lambda self: 0 if silent else handle(self))
            silent = True
            sent = server.fill(10)
            client.until(lambda: bool(client.gaps))  # some heartbeats later
            assert "no answer from the replay socket" in str(client.gaps[0])
            silent = False
            sent += server.fill(5)
            client.until(lambda: len(client.events) >= 2 and client.events[-1] == sent[-1])
            got = [m.seq for m in client.events]
            assert got == sorted(set(got))

    def test_nonsense_is_passed_over(self, tmp_path: Path, addresses: Addresses) -> None:
        with (
            PublisherThread(tmp_path, addresses) as server,
            Relay(addresses[0], lambda _: False) as relay,
            collect(relay.address, replay=addresses[1]) as client,
        ):
            connected(client)
            for frames in (
                [b"event/yard/full/walk"],
                [b"event/a/b/c", b"{}"],
                [b"heartbeat", b"\xff"],
                [b"status/x", b""],
            ):
                relay.send(*frames)
            sent = server.fill(5)
            client.until(lambda: client.events == sent)


# ---- publishers that end and begin anew


def test_a_client_goes_on_where_it_left_off(tmp_path: Path, addresses: Addresses) -> None:
    with PublisherThread(tmp_path, addresses) as server:
        sent = server.fill(50)
        got: list[EventMessage] = []
        position: Position | str = "first"
        while len(got) < len(sent):
            with Subscription(addresses[0], since=position) as subscription:
                for event in subscription.events(timeout_s=5):
                    got.append(event)
                    if len(got) % 7 == 0:
                        break
                assert subscription.position is not None
                position = got[-1].position
        assert got == sent


def test_the_tail_of_a_run_that_nobody_heard(tmp_path: Path, addresses: Addresses) -> None:
    """Journaled, but killed before it was sent: the next run's heartbeat alone has to bring it."""
    with PublisherThread(tmp_path, addresses) as server, collect(addresses[0]) as client:
        connected(client)
        sent = server.fill(5)
        client.until(lambda: client.events == sent)
    with Subscription(addresses[0], since=sent[-1].position) as subscription:
        journal = Journal(tmp_path / "events.sqlite3")
        feed = Feed("yard", seed=3)
        while not (drafts := feed.drafts()):
            pass
        unheard = journal.append(drafts + feed.finish())
        journal.close()
        with PublisherThread(tmp_path, addresses):
            events = subscription.events(timeout_s=10)
            assert [next(events) for _ in unheard] == unheard


@pytest.mark.parametrize("camera", [None, "yard"])
def test_a_new_run_is_asked_for_once(
    tmp_path: Path, addresses: Addresses, monkeypatch: pytest.MonkeyPatch, camera: str | None
) -> None:
    with PublisherThread(tmp_path, addresses) as server:
        sent = server.fill(5)
    asked = 0
    answer = Publisher._answer

    def counted(self: Publisher, request: list[bytes]) -> list[list[bytes]]:
        nonlocal asked
        asked += 1
        return answer(self, request)

    monkeypatch.setattr(Publisher, "_answer", counted)
    with PublisherThread(tmp_path, addresses), collect(addresses[0], camera=camera, since=sent[-1].position) as client:
        client.until(lambda: sum(isinstance(item, HeartbeatMessage) for item in client.items) >= 3)
    assert asked <= 2


@pytest.mark.skipif(not ipv6(), reason="this machine has no IPv6 loopback")
def test_ipv6(tmp_path: Path) -> None:
    addresses = tuple(address.replace("127.0.0.1", "[::1]") for address in free_addresses())
    with PublisherThread(tmp_path, addresses) as server:  # type: ignore[arg-type]
        sent = server.fill(5)
        assert list(subscribe.events(addresses[0], since="first", timeout_s=0.5)) == sent


def test_another_journal_is_a_gap_and_then_goes_on(tmp_path: Path, addresses: Addresses) -> None:
    with collect(addresses[0]) as client:
        with PublisherThread(tmp_path / "old", addresses) as server:
            connected(client)
            sent = server.fill(5)
            client.until(lambda: client.events == sent)
            old = sent[-1]
        with PublisherThread(tmp_path / "new", addresses) as server:
            sent += server.fill(5)
            client.until(lambda: client.events == sent)
        (gap,) = client.gaps
        assert (gap.after, gap.before) == (old.position, Position(run=server.run, seq=1))
        assert "no such run" in str(gap)


def test_a_deleted_past_is_a_gap(tmp_path: Path, addresses: Addresses) -> None:
    with PublisherThread(tmp_path, addresses) as server:
        sent = server.fill(10)
    with closing(Journal(tmp_path / "events.sqlite3", retention=Retention(max_age_s=0))) as journal:
        assert journal.prune() is False
        pruned_before = journal.pruned_before
        assert pruned_before is not None
    with PublisherThread(tmp_path, addresses) as server:
        kept = server.fill(5)
        for camera in (None, "yard"):
            items = subscribe.messages(addresses[0], camera=camera, since=sent[3].position, timeout_s=5)
            gap = next(items)
            assert isinstance(gap, Gap)
            assert (gap.after, gap.before) == (sent[3].position, pruned_before)
            assert [next(items) for _ in kept] == kept
        gaps: list[Gap] = []
        for since in ("first", kept[0].position):
            got = list(subscribe.events(addresses[0], since=since, timeout_s=0.5, on_gap=gaps.append))
            assert got == kept[-len(got) :]
        assert gaps == []  # who asks for what is kept misses nothing


# ---- others


def test_ten_lines_of_plain_pyzmq_see_every_event(tmp_path: Path, addresses: Addresses) -> None:
    code = f"""
import json, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.connect("{addresses[0]}")
socket.subscribe("event/")
socket.subscribe("heartbeat")
while True:
    topic, message = socket.recv_multipart()
    print(json.dumps([topic.decode(), json.loads(message)]), flush=True)
"""
    with PublisherThread(tmp_path, addresses) as server:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())[0] == "heartbeat"
            sent = server.fill(30)
            got: list[tuple[str, str]] = []
            while len(got) < len(sent):
                topic, message = json.loads(process.stdout.readline())
                if topic != "heartbeat":
                    got.append((topic, message))
            assert got == [(m.topic, json.loads(m.json_text())) for m in sent]
        finally:
            process.kill()
            process.communicate()


class TestCurve:
    def test_keys(self, tmp_path: Path, addresses: Addresses) -> None:
        server_keys, friend, stranger = (KeyPair(*zmq.curve_keypair()) for _ in range(3))
        curve = ServerCurve(server_keys, frozenset({friend.public}))
        with PublisherThread(tmp_path, addresses, curve=curve) as server:
            sent = server.fill(10)
            ours = ClientCurve(friend, server_keys.public)
            assert list(subscribe.events(addresses[0], since="first", curve=ours, timeout_s=1)) == sent
            with pytest.raises(SubscribeError, match=r"does not know this client's key"):
                next(subscribe.events(addresses[0], curve=ClientCurve(stranger, server_keys.public), timeout_s=10))
            with pytest.raises(SubscribeError, match=r"other security"):
                next(subscribe.events(addresses[0], timeout_s=10))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"address": "localhost:5556"}, "tcp://HOST:PORT"),
        ({"address": "tcp://127.0.0.1:99999"}, "port"),
        ({"replay": "nonsense"}, "tcp://HOST:PORT"),
        ({"since": "yesterday"}, r"expected RUN:SEQ.*or first, or last"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, str], error: str) -> None:
    with pytest.raises(SubscribeError, match=error):
        Subscription(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("camera", ["Front_Door", "a/b", "", "x" * 65])
def test_a_camera_that_cannot_be_is_refused(camera: str) -> None:
    with pytest.raises(SubscribeError, match="expected small letters"):
        Subscription(camera=camera, since="first")


@pytest.mark.parametrize("since", ["x" * 70 + ":1", ("x" * 70, 1), "R:" + "9" * 5000, ":1", "R:-1"])
def test_a_position_that_cannot_be_is_refused(since: str | tuple[str, int]) -> None:
    with pytest.raises(SubscribeError, match=r"is no position: expected RUN:SEQ.*, or first, or last") as caught:
        Subscription(since=since)
    assert "\n" not in str(caught.value)


def test_a_publisher_on_ipc_has_its_replay_named(tmp_path: Path) -> None:
    replay = f"ipc://{tmp_path}/replay"
    with publisher_in(tmp_path, f"ipc://{tmp_path}/pub", replay) as publisher:
        assert publisher.address == f"ipc://{tmp_path}/pub"
