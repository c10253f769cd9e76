"""Watchdog: what a real datagram socket in systemd's place hears, and that the unit file is sound."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.watchdog import Watchdog
from tests.systemd import Systemd

UNIT = Path(__file__).parents[2] / "deploy" / "swinstream.service"


@pytest.fixture(params=["file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(str(tmp_path / "notify") if request.param == "file" else f"@swinstream-test-{os.getpid()}")
    yield made
    made.close()


def test_a_service_s_life(systemd: Systemd) -> None:
    now_s, status = 100.0, "2 cameras: 2 live"
    watchdog = Watchdog({"NOTIFY_SOCKET": systemd.address}, lambda: now_s)
    watchdog.ready()
    watchdog.turn(lambda: status)
    now_s += 1
    watchdog.turn(lambda: status)
    assert systemd.heard() == ["READY=1", "STATUS=2 cameras: 2 live"]
    status = "2 cameras: 1 live, 1 lost"
    now_s += 0.5
    watchdog.turn(lambda: status)
    assert systemd.heard() == []
    now_s += 0.5
    watchdog.turn(lambda: status)
    assert systemd.heard() == ["STATUS=2 cameras: 1 live, 1 lost"]
    watchdog.reloaded()  # of nothing
    assert systemd.heard() == []
    before_us = time.monotonic_ns() // 1000
    watchdog.reloading()
    (told,) = systemd.heard()
    first, _, when = told.partition("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before_us <= int(when) <= time.monotonic_ns() // 1000
    watchdog.reloaded()
    watchdog.reloaded()
    watchdog.stopping()
    assert systemd.heard() == ["READY=1", "STOPPING=1"]
    watchdog.close()
    now_s += 1
    watchdog.turn(lambda: "closed")
    assert systemd.heard() == []


def test_it_barks_only_while_the_loop_turns(systemd: Systemd) -> None:
    now_s = 100.0
    environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    watchdog = Watchdog(environment, lambda: now_s)
    barks = []
    for _ in range(121):  # half a minute of turns
        watchdog.turn(str)
        barks.append(len(systemd.heard()))
        now_s += 0.25
    assert [at for at, count in enumerate(barks) if count] == [0, 60, 120]  # every 15 s
    now_s += 1000
    assert systemd.heard() == []
    watchdog.close()


@pytest.mark.parametrize(
    "environment",
    [{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {}],
    ids=["another process's", "nonsense", "none"],
)
def test_no_watchdog_is_wanted_of_us(systemd: Systemd, environment: dict[str, str]) -> None:
    watchdog = Watchdog({"NOTIFY_SOCKET": systemd.address, **environment})
    watchdog.turn(str)
    assert systemd.heard() == []
    watchdog.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path"])
def test_without_systemd_nothing_happens(address: str) -> None:
    watchdog = Watchdog({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"})
    watchdog.ready()
    watchdog.turn(lambda: pytest.fail("nobody wants to know"))
    watchdog.close()


def test_a_systemd_that_is_gone_or_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    watchdog = Watchdog({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    watchdog.ready()
    watchdog.close()
    busy = Systemd(str(tmp_path / "busy"))
    watchdog = Watchdog({"NOTIFY_SOCKET": busy.address})
    begun_s = time.monotonic()
    for _ in range(5000):  # more than its queue holds
        watchdog.ready()
    assert time.monotonic() - begun_s < 5
    assert len(busy.heard()) < 5000
    watchdog.close()
    busy.close()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_unit_is_sound(tmp_path: Path) -> None:
    """With a program at the place that it names, as there is where it is installed."""
    text = UNIT.read_text()
    program = next(line for line in text.splitlines() if line.startswith("ExecStart=")).removeprefix("ExecStart=")
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(program.split()[0], shutil.which("true") or "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
