"""A subscriber that stops reading costs the publisher nothing and gets everything later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from stream.publish import Publisher
from tests.event_publisher import Feed, PublisherThread, free_addresses

ROOT = Path(__file__).parents[2]

FOLLOW = """
import sys
from stream import subscribe
with open(sys.argv[2], "w", buffering=1) as file:
    for event in subscribe.events(sys.argv[1], since="first"):
        print(event.position, file=file)
"""


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_stopped_subscriber(tmp_path: Path) -> None:
    addresses, record = free_addresses(), tmp_path / "record"
    record.touch()
    with PublisherThread(tmp_path, addresses, queue=500) as server:
        sent: list[str] = []

        def publish(events: int) -> float:
            """So many; the processor time of it all in milliseconds."""

            def run(publisher: Publisher) -> float:
                feed, begun_s, first = Feed("yard", seed=len(sent)), time.thread_time(), len(sent)
                while len(sent) - first < events:
                    drafts = [draft for _ in range(50) for draft in feed.drafts()]
                    sent.extend(str(message.position) for message in publisher.publish(drafts))
                sent.extend(str(message.position) for message in publisher.publish(feed.finish()))
                return 1000 * (time.thread_time() - begun_s)

            return server.call(run)

        command = [sys.executable, "-c", FOLLOW, addresses[0], str(record)]
        with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}) as subscriber:
            try:
                publish(6000)  # a journal of some size, as later
                until(lambda: record.read_text().split() == sent)
                usual_ms = min(publish(500) for _ in range(5))
                until(lambda: record.read_text().split() == sent)
                subscriber.send_signal(signal.SIGSTOP)
                publish(6000)  # its queue and the system's buffers are full now
                before_bytes = psutil.Process().memory_info().rss
                stopped_ms = min(publish(500) for _ in range(5))
                assert stopped_ms < 1.2 * usual_ms
                assert psutil.Process().memory_info().rss - before_bytes < 4 << 20
                assert len(record.read_text().split()) < len(sent) - 6000
                subscriber.send_signal(signal.SIGCONT)
                until(lambda: len(record.read_text().split()) >= len(sent))
                assert record.read_text().split() == sent
            finally:
                subscriber.kill()
