"""Stopper: signals become a flag, however many come."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from stream.stopper import Stopper

pytestmark = pytest.mark.usefixtures("own_process")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_sets_the_flag_and_another_changes_nothing(number: signal.Signals) -> None:
    stopper = Stopper()
    assert not stopper.event.is_set()
    for _ in range(3):
        os.kill(os.getpid(), number)
    assert stopper.event.wait(5)
    assert stopper.requested


def test_a_request_from_another_thread() -> None:
    stopper = Stopper()
    thread = threading.Thread(target=stopper.request)
    thread.start()
    thread.join()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stopper.event.is_set()


def test_under_nohup_a_closed_terminal_does_not_matter() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stopper = Stopper()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stopper.requested
