"""The main job, whole: real clips over real RTSP from a server that is not ours, to two subscribers' event lists.

The shipped model has seen the subject's clips, so this measures the path, not how well the model does on strangers:
that is measured by leaving subjects out (see its card).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.bundle import Bundle
from stream.demo.record import write_mp4
from stream.demo.score import Span, overlaps, score
from stream.wire import utc_ns
from tests.event_publisher import free_addresses
from tests.rtsp_server import RtspServer
from train.data.clips import ClipRef, data_root, find_clips, load_footage
from train.data.join import join_clips, rgb_pictures
from train.data.segments import U8

SUBJECT = "lyova"
SWINSTREAM = [sys.executable, "-m", "swinstream"]

PLAIN_SUBSCRIBER = """
import sys, time, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.connect(sys.argv[1])
socket.subscribe(b"event/")
socket.subscribe(b"status/")
while True:
    topic, message = socket.recv_multipart()
    print(time.time_ns(), message.decode(), flush=True)
"""


@contextmanager
def running(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose standard output goes to a file; ended by SIGTERM, and gone for sure."""
    with open(log, "wb") as out, subprocess.Popen(command, stdout=out) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(15)
            finally:
                process.kill()


def wait_until(true: Callable[[], bool], process: subprocess.Popen[bytes] | None = None, timeout_s: float = 10) -> None:
    """Until it is so. The process must not end before."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert process is None or process.poll() is None, "the process ended"
        assert time.monotonic() < deadline, f"not so within {timeout_s} s"
        time.sleep(0.02)


def read_lines(log: Path) -> list[str]:
    """Whole lines only: the last one may be half written."""
    return log.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()


def heard(log: Path, kind: str) -> list[tuple[int, dict[str, Any]]]:
    """What the plain subscriber got: when (UTC, ns) and what. kind: event or status."""
    lines = (line.split(" ", 1) for line in read_lines(log))
    messages = [(int(when), json.loads(text)) for when, text in lines]
    return [(when, message) for when, message in messages if message["schema"] == f"swinstream.{kind}/1"]


def states(log: Path) -> list[str]:
    return [message["state"] for _, message in heard(log, "status")]


@pytest.mark.needs_data
@pytest.mark.timeout(180)
def test_ten_actions_of_a_subject_in_a_row(tmp_path: Path) -> None:
    bundle = Bundle.load("movements")
    refs = find_clips(data_root() / "weizmann", bundle.spec.actions)
    script = join_clips([ref for ref in refs if ref.group == SUBJECT], tmp_path / "ten.mp4")
    address, replay = free_addresses()
    logs = {name: tmp_path / f"{name}.jsonl" for name in ("run", "client", "plain")}
    with (
        RtspServer("files", str(tmp_path)) as server,
        running(*SWINSTREAM, "subscribe", address, "--json", log=logs["client"]),
        running(sys.executable, "-c", PLAIN_SUBSCRIBER, address, log=logs["plain"]),
    ):
        with running(
            *SWINSTREAM,
            *("run", "--camera", f"subject={server.url('ten.mp4')}", "--json"),
            *("--publish", address, "--replay", replay, "--journal", str(tmp_path / "events.sqlite3")),
            log=logs["run"],
        ) as service:
            # The server ends when the film does; then the camera is lost, and would soon begin anew.
            wait_until(lambda: states(logs["plain"])[-1:] == ["lost"], service, timeout_s=120)
        assert service.returncode == 0
        events = [json.loads(line) for line in read_lines(logs["run"])]
        wait_until(lambda: len(heard(logs["plain"], "event")) == len(read_lines(logs["client"])) == len(events))
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert [json.loads(line) for line in read_lines(logs["client"])] == events
    received = heard(logs["plain"], "event")
    assert [event for _, event in received] == events
    assert {e["id"] for e in events if e["phase"] == "start"} == {e["id"] for e in events if e["phase"] == "end"}

    # The film began when the camera came to live: by the status's own time, a few hundredths after its first frame.
    began_ns = next(utc_ns(m["time"]) for _, m in heard(logs["plain"], "status") if m["state"] == "live")
    truth = [Span(s.label, began_ns + s.start_ns, began_ns + (s.end_ns or 0)) for s in script]
    last = {event["id"]: event for event in events}
    found = [Span(e["label"], utc_ns(e["start"]), utc_ns(e["end"])) for e in last.values()]
    counted = score(truth, found, slack_ns=0)
    print(counted, found)
    assert counted.right >= 7
    assert counted.false_events <= 3

    # From an action's first frame to the arrival of its event's start at the subscriber.
    delays = []
    for action in truth:
        for received_ns, event in received:
            span = Span(event["label"], utc_ns(event["start"]), utc_ns(last[event["id"]]["end"]))
            if event["phase"] == "start" and event["label"] == action.label and overlaps(span, action, slack_ns=0):
                delays.append((received_ns - action.start_ns) / 1e9)
                break
    print("start delays, s:", [round(delay, 2) for delay in delays])
    assert np.percentile(delays, 95) <= 2.5


@pytest.mark.needs_data
@pytest.mark.timeout(120)
def test_nothing_happens_no_event(tmp_path: Path) -> None:
    quiet = data_root() / "streams" / "intel_bottle-detection.mp4"
    still = tmp_path / "still.mp4"
    rng = np.random.default_rng(0)
    refs = find_clips(data_root() / "weizmann", ("wave1",))
    write_mp4(still, noisy_still(next(ref for ref in refs if ref.group == SUBJECT), rng), 15)
    for path in (quiet, still):
        done = subprocess.run(
            [
                *SWINSTREAM,
                *("run", "--camera", f"quiet={path}", "--json", "--publish", "tcp://127.0.0.1:0"),
                *("--replay", "tcp://127.0.0.1:0", "--journal", str(tmp_path / f"{path.stem}.sqlite3")),
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        assert done.stdout == ""
        assert int(re.findall(r"windows=(\d+)", done.stderr)[-1]) >= 30, done.stderr


def noisy_still(ref: ClipRef, rng: np.random.Generator) -> Iterator[U8]:
    """60 s of one picture with a camera's noise, 15 fps."""
    picture = rgb_pictures(load_footage(ref, max_height=10_000))[0].astype(np.float32)
    for _ in range(900):
        yield np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
