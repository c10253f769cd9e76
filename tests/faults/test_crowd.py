"""Whoever connects to the sockets and whatever is said there: the publisher goes on, and others get every event."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import psutil

from stream.events import EndReason
from tests.event_publisher import Feed, PublisherThread, free_addresses
from tests.faults.crowd import Deaf, pester, subscribe_to_everything
from tests.faults.follower import Follower


def test_raw_bytes_and_huge_subscriptions(tmp_path: Path) -> None:
    chance = random.Random(1)
    addresses = free_addresses()
    with PublisherThread(tmp_path, addresses, queue=100) as publisher, Follower(*addresses) as follower:
        follower.until(lambda: follower.failure is None, 1)
        deaf = Deaf(addresses[0])
        feed, published = Feed("yard", seed=3), 0
        files = psutil.Process().num_fds()
        stop = threading.Event()

        def crowd() -> None:
            while not stop.is_set():
                pester(chance.choice(addresses), chance)
                subscribe_to_everything(addresses[0], chance)

        thread = threading.Thread(target=crowd)
        thread.start()
        try:
            slowest_s = 0.0
            deadline_s = time.monotonic() + 1.5
            while time.monotonic() < deadline_s:
                begun_s = time.monotonic()
                published += len(publisher.publish(feed.drafts()))
                slowest_s = max(slowest_s, time.monotonic() - begun_s)
        finally:
            stop.set()
            thread.join()
        published += len(publisher.publish(feed.finish(EndReason.SHUTDOWN)))
        follower.until(lambda: len(follower.events) >= published, 10, "every event")
        deaf.close()
        assert [event.seq for event in follower.events] == list(range(1, published + 1))
        assert follower.gaps == []
        assert published > 10
        assert slowest_s < 2.0  # of a busy machine
        deadline_s = time.monotonic() + 5
        while psutil.Process().num_fds() > files:  # those that left are forgotten
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
