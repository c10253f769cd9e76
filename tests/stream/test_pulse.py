"""Pulse: a silent worker that is stuck is given up soon, one that is kept waiting is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from stream.pulse import BEAT_S, STARVED_S, Account, Pulse, account_of

TURN_S = 0.25


def given_up_after(
    account: Callable[[float], Account | None], *, starting: bool = False, turn_s: float = TURN_S
) -> float:
    """Seconds of silence until it is given up. account: of the seconds since."""
    now_s = 100.0
    pulse = Pulse(now_s, lambda: 0 if starting else 1, lambda: account(now_s - 100.0))
    while not pulse.stuck(now_s):
        now_s += turn_s
        assert now_s < 300.0, "never given up"
    return now_s - 100.0


def test_a_thread_that_waits_for_nothing_is_stuck() -> None:
    assert given_up_after(lambda _: Account(5.0, 1.0, "S")) <= 2.5


def test_a_thread_that_spins_is_stuck() -> None:
    assert given_up_after(lambda s: Account(s, 0.001 * s, "R")) <= 2.5


@pytest.mark.parametrize(
    "account",
    [
        lambda s: Account(0.01 * s, 0.9 * s, "S"),  # starved
        lambda s: Account(0.0, 0.0, "R"),  # so much that it has not run once
        lambda s: Account(0.1 * s, 0.3 * s, "S"),  # the lock it wants is held by a thread that is
        lambda s: Account(0.0, 0.0, "D"),
        lambda s: None,  # nobody knows
    ],
)
def test_a_thread_that_is_kept_waiting_has_more_time_but_not_for_ever(
    account: Callable[[float], Account | None],
) -> None:
    assert STARVED_S <= given_up_after(account) <= STARVED_S + 2.0


def test_a_thread_that_was_starved_and_then_is_stuck() -> None:
    assert 5.0 < given_up_after(lambda s: Account(0.0, min(s, 5.0), "S")) <= 5.0 + 3.0


def test_a_process_that_starts_may_work_for_long_but_not_stand_still() -> None:
    assert given_up_after(lambda s: Account(0.5 * s, 0.0, "S"), starting=True) >= 60.0
    assert given_up_after(lambda s: Account(0.3, 0.0, "S"), starting=True) <= 6.0


def test_beats_keep_it_alive() -> None:
    now_s, beats = 0.0, 0
    pulse = Pulse(now_s, lambda: beats, lambda: Account(0.0, 0.0, "S"))
    for _ in range(100):
        now_s, beats = now_s + BEAT_S, beats + 1
        assert not pulse.stuck(now_s)


def test_time_in_which_the_core_did_not_look_does_not_count() -> None:
    beats = 1
    pulse = Pulse(0.0, lambda: beats, lambda: Account(0.0, 0.0, "S"))
    assert not pulse.stuck(0.25)
    assert not pulse.stuck(10.0)
    beats += 1
    assert not pulse.stuck(10.25)
    # Nor does it make haste when it comes late at every turn.
    assert given_up_after(lambda _: Account(0.0, 0.0, "S"), turn_s=5.0) >= 2 * 5.0


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="this system keeps no account of waiting")
def test_the_kernels_account() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            time.sleep(0.3)
            before = account_of(process.pid)
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.1)
            stopped = account_of(process.pid)
            time.sleep(0.3)
            assert account_of(process.pid) == stopped
            assert before is not None
            assert stopped is not None
            assert 0.0 < before.ran_s <= stopped.ran_s < 5.0
            assert stopped.state == "T"
        finally:
            process.kill()
    assert account_of(process.pid) is None
