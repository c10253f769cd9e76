"""Stopper: signals become a flag, however many come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from stream.stopper import Stopper, held_back

pytestmark = pytest.mark.usefixtures("own_process")


def wait_for(stopper: Stopper) -> None:
    """Not on the event: the signal may reach another thread, and handlers run in this one between its lines."""
    deadline_s = time.monotonic() + 5
    while not stopper.event.is_set():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_sets_the_flag_and_another_changes_nothing(number: signal.Signals) -> None:
    with Stopper() as stopper:
        assert not stopper.event.is_set()
        for _ in range(3):
            os.kill(os.getpid(), number)
        wait_for(stopper)
    os.kill(os.getpid(), number)  # and the program goes on exiting


def test_a_request_from_another_thread() -> None:
    with Stopper() as stopper:
        thread = threading.Thread(target=stopper.request)
        thread.start()
        thread.join()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopper.event.is_set()


def test_under_nohup_a_closed_terminal_does_not_matter() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Stopper() as stopper:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stopper.event.is_set()


def test_under_nohup_a_wish_to_reload_is_heard() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Stopper(reloads=True) as stopper:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stopper.reload_requested()
        assert not stopper.event.is_set()


def test_a_process_started_while_signals_are_held_back_never_gets_them() -> None:
    with Stopper() as stopper:
        with held_back():
            child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
            os.kill(os.getpid(), signal.SIGTERM)
        wait_for(stopper)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            child.send_signal(number)
        child.communicate(b"\n")
        assert child.returncode == 0
