"""ReplayClient against a ROUTER that behaves well or not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import zmq

from stream.replay import ReplayClient, ReplayError, ReplayRefusedError
from stream.wire import Position

Answers = Callable[[int], list[list[bytes]]]

END = b'{"next": {"run": "R", "seq": 4}, "more": false, "pruned_before": null}'
EVENT = (
    b'{"schema":"swinstream.event/1","run":"R","seq":4,"prev":null,"id":"i","phase":"start","camera":"yard",'
    b'"zone":"full","label":"walk","score":0.9,"peak":0.9,"start":"2026-11-24T11:00:00.000Z","end":null,'
    b'"clock":"rtcp","pts":{"start_ns":0,"end_ns":null},"model":{"name":"m","version":"1"},'
    b'"latency_ms":{"queue":null,"infer":null,"total":null},"reason":null}'
)


class Router:
    """Answers request number n (from 0) with `answers(n)`: messages, each a list of frames."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.answers: Answers = lambda _: []
        self.requests: list[bytes] = []
        self.clients: set[bytes] = set()
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.address = f"tcp://127.0.0.1:{port}"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._socket.poll(10):
                client, request = self._socket.recv_multipart()
                self.requests.append(request)
                self.clients.add(client)
                for frames in self.answers(len(self.requests) - 1):
                    self._socket.send_multipart([client, *frames])

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._socket.close()


@pytest.fixture
def router() -> Iterator[Router]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = Router(context)
    yield made
    made.close()
    context.term()


@pytest.fixture
def client(router: Router) -> Iterator[ReplayClient]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = ReplayClient(context, router.address)
    yield made
    made.close()
    context.term()


def test_an_answer(router: Router, client: ReplayClient) -> None:
    router.answers = lambda _: [[b"event/yard/full/walk", EVENT], [END]]
    answer = client.ask(Position(run="R", seq=3), "yard", 10, timeout_s=10)
    assert router.requests == [b'{"after":{"run":"R","seq":3},"camera":"yard","limit":10}']
    assert [event.seq for event in answer.events] == [4]
    assert (answer.next, answer.more, answer.pruned_before) == (Position(run="R", seq=4), False, None)
    client.ask("first", None, 10, timeout_s=10)
    assert len(router.clients) == 1  # one connection for all that goes well


def test_a_refusal_in_the_publishers_words(router: Router, client: ReplayClient) -> None:
    router.answers = lambda _: [[b'{"error": "no such run"}']]
    with pytest.raises(ReplayRefusedError, match=r"^no such run$"):
        client.ask("first", None, 10, timeout_s=10)


def test_nothing(router: Router, client: ReplayClient) -> None:
    with pytest.raises(ReplayError, match=rf"no answer from the replay socket {router.address} in 0.1 s"):
        client.ask("first", None, 10, timeout_s=0.1)


def test_what_is_left_of_an_answer_that_broke_off_is_not_taken_for_the_next(
    router: Router, client: ReplayClient
) -> None:
    router.answers = lambda n: [[b"event/yard/full/walk", EVENT]] if n == 0 else [[END]]
    with pytest.raises(ReplayError, match="no answer"):
        client.ask("first", None, 10, timeout_s=0.3)
    assert client.ask("first", None, 10, timeout_s=10).events == []
    assert len(router.clients) == 2


@pytest.mark.parametrize(
    "message", [[b"event/yard/full/walk", b"{}"], [b"[]"], [b"\xff"], [b"a", b"b", b"c"], [b'{"next": 1}']]
)
def test_nonsense(router: Router, client: ReplayClient, message: list[bytes]) -> None:
    router.answers = lambda _: [message]
    with pytest.raises(ReplayError, match="nonsense"):
        client.ask("first", None, 10, timeout_s=10)


def test_a_client_that_is_stopped_does_not_wait(client: ReplayClient) -> None:
    with pytest.raises(ReplayError, match="stopped"):
        client.ask("first", None, 10, timeout_s=1000, stopped=lambda: True)
