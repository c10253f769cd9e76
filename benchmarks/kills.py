"""A thousand kills: does every event reach its subscriber, once and in order, whoever dies and when?

    python -m benchmarks.kills --kills 1000

The real journal and publisher, fed with generated scores through the real event machine (no camera, no engine), and
two real subscribers, one of all cameras and one of a single camera, each with its place on disk. One of the three at
a time is killed with SIGKILL, at a random moment: while it starts, while it writes, while it replays. Its successor
goes on at once or a moment later. At the end what the subscribers have on disk is held against the journal.

Processes are forked from a server that has imported everything, so that a thousand starts are cheap. The seed fixes
victims and pauses, not where in a process a kill falls. Prints one JSON object; exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import zmq
from rich.progress import track

from stream.event_machine import EventMachine, Step
from stream.events import EndReason, Phase, Rules
from stream.frame import NS_PER_S, ClockSource, StreamKey
from stream.journal import Journal, Retention
from stream.publish import Publisher
from stream.report import Clock, Reporter
from stream.sequence import Gap
from stream.subscription import Subscription
from stream.wire import EventDraft, EventMessage, Latency, ModelRef, Position

LABELS = ("walk", "run", "wave")
CAMERAS = ("yard", "gate", "hall", "dock")
FOLLOWED = "gate"  # by the second subscriber
STEP_NS = NS_PER_S // 4
TURN_S = 0.01
PAUSES_S = (0.03, 0.3, 1.2)
"""The longest pause before a kill: one of these, so that some die while they start and some when they run well."""
DOWN_S = 0.3
SETTLE_S = 60.0


# ---- the publisher's process


class Scores:
    """Generated scores of one camera, as events."""

    def __init__(self, camera: str, seed: int) -> None:
        rules = {label: Rules(min_duration_s=0.25, merge_gap_s=0.25) for label in LABELS}
        self._machine = EventMachine(LABELS, rules)
        self._reporter = Reporter(StreamKey(camera, "full"), ModelRef(name="generated", version="1"))
        self._rng = np.random.default_rng(seed)
        self._clock = Clock(time.time_ns(), ClockSource.ARRIVAL)
        self._now_ns = 0
        self._label = 0

    def step(self) -> list[EventDraft]:
        """What the next quarter of a second of stream time brings."""
        if self._rng.random() < 0.3:
            self._label = int(self._rng.integers(0, len(LABELS) + 1))
        scores = self._rng.uniform(0.0, 0.1, len(LABELS) + 1).astype(np.float32)
        scores[self._label] = self._rng.uniform(0.7, 0.9)
        step = Step(self._now_ns, self._now_ns + STEP_NS, scores[:-1])
        self._now_ns = step.end_ns
        changes = self._machine.advance([step])
        return self._reporter.drafts(
            changes, self._clock, latency=Latency(queue=1.0, infer=2.0), arrival_ns=time.monotonic_ns()
        )

    def end(self) -> list[EventDraft]:
        return self._reporter.drafts(self._machine.finish(EndReason.SHUTDOWN))


def publish(journal_path: Path, addresses: tuple[str, str], seed: int) -> None:
    """Publish until SIGUSR1, serve until SIGTERM."""
    finishing, stopping = _on(signal.SIGUSR1), _on(signal.SIGTERM)
    feeds = [Scores(camera, seed * len(CAMERAS) + n) for n, camera in enumerate(CAMERAS)]
    with (
        contextlib.closing(Journal(journal_path, retention=Retention(max_bytes=1 << 40))) as journal,
        contextlib.closing(Publisher(journal, address=addresses[0], replay=addresses[1])) as publisher,
    ):
        poller = zmq.Poller()
        for served in publisher.sockets():
            poller.register(served, zmq.POLLIN)
        while not stopping():
            for feed in feeds:
                publisher.publish(feed.step())
            if finishing():
                for feed in feeds:
                    publisher.publish(feed.end())
                feeds = []
            poller.poll(round(1000 * min(TURN_S, publisher.tick())))
            publisher.handle_requests()


# ---- a subscriber's process


@dataclass(frozen=True)
class Line:
    """What is kept of an event."""

    position: str
    camera: str
    phase: str
    id: str

    @classmethod
    def of(cls, event: EventMessage) -> Line:
        return cls(str(event.position), event.camera, event.phase.value, event.id)


def follow(address: str, camera: str | None, record: Path) -> None:
    """Write every event to a file, a line each, until SIGTERM. The last whole line is where to go on."""
    stopping = _on(signal.SIGTERM)
    with record.open("ab+", buffering=0) as file:
        lines = _whole_lines(record)
        file.truncate(sum(len(line) + 1 for line in lines))
        told = [line for line in lines if not line.startswith(b"gap")]
        since = Position.of(json.loads(told[-1])["position"]) if told else "first"
        with Subscription(address, camera=camera, since=since) as subscription:
            for item in subscription.messages():  # there is a heartbeat every second
                if isinstance(item, EventMessage):
                    file.write(json.dumps(asdict(Line.of(item))).encode() + b"\n")
                elif isinstance(item, Gap):
                    file.write(f"gap {item}\n".encode())
                if stopping():
                    return


def _whole_lines(record: Path) -> list[bytes]:
    return record.read_bytes().split(b"\n")[:-1]


def _on(number: signal.Signals) -> Callable[[], bool]:
    """Whether this signal has come."""
    came: list[int] = []
    signal.signal(number, lambda *_: came.append(1))
    return lambda: bool(came)


# ---- the one that kills


WRONG = (
    "missing",
    "doubled",
    "out_of_order",
    "not_in_journal",
    "gaps_told",
    "seq_gaps",
    "wrong_prev",
    "starts_without_end",
    "ends_without_start",
    "doubled_ends",
    "damaged_pages",
)


@dataclass
class Report:
    """What was done, and what was found wrong.

    kills: by process. caught_up_late: events that the subscriber of all had not yet when the last kill was done.
    """

    kills: dict[str, int]
    seconds: float
    events: int = 0
    runs: int = 0
    crashed_ends: int = 0
    caught_up_late: int = 0
    wrong: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WRONG, 0))


class Family:
    """The three processes, by name; each may be killed and begun anew."""

    def __init__(self, folder: Path, addresses: tuple[str, str]) -> None:
        self.journal = folder / "events.sqlite3"
        self.records = {"subscriber": folder / "all.jsonl", "camera-subscriber": folder / "camera.jsonl"}
        for record in self.records.values():
            record.touch()
        self._addresses = addresses
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["numpy", "stream.publish", "stream.report", "stream.subscription"])
        self._starts = 0
        self.processes: dict[str, BaseProcess] = {}

    @property
    def names(self) -> list[str]:
        return ["publisher", *self.records]

    def start(self, name: str) -> None:
        self._starts += 1
        if name == "publisher":
            process = self._context.Process(target=publish, args=(self.journal, self._addresses, self._starts))
        else:
            camera = FOLLOWED if name == "camera-subscriber" else None
            process = self._context.Process(target=follow, args=(self._addresses[0], camera, self.records[name]))
        process.start()
        self.processes[name] = process

    def kill(self, name: str) -> None:
        """Raises RuntimeError if it had ended by itself, which none may."""
        process = self.processes[name]
        if process.exitcode is not None:
            raise RuntimeError(f"the {name} ended by itself, exit code {process.exitcode}")
        process.kill()
        process.join()

    def settle(self) -> None:
        """Publish no more, give the subscribers time to catch up, and end all."""
        pid = self.processes["publisher"].pid
        assert pid is not None
        time.sleep(1.0)
        os.kill(pid, signal.SIGUSR1)
        time.sleep(1.0)
        deadline_s = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline_s and not self._caught_up():
            time.sleep(0.2)
        for name in [*self.records, "publisher"]:
            self.processes[name].terminate()
            self.processes[name].join(10)
        self.close()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.join()

    def _caught_up(self) -> bool:
        rows = journal_lines(self.journal)
        last = {"subscriber": rows[-1], "camera-subscriber": [row for row in rows if row.camera == FOLLOWED][-1]}
        return all(last[name] in record_lines(path)[0][-1:] for name, path in self.records.items())


def journal_lines(path: Path) -> list[Line]:
    return [Line.of(EventMessage.parse(text)) for text in _messages(path)]


def _messages(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return [text for (text,) in db.execute("SELECT message FROM events ORDER BY n, seq")]


def record_lines(path: Path) -> tuple[list[Line], int]:
    """What a subscriber has written, and how many gaps it was told of."""
    lines = _whole_lines(path)
    return [Line(**json.loads(line)) for line in lines if not line.startswith(b"gap")], sum(
        line.startswith(b"gap") for line in lines
    )


def judge(report: Report, family: Family) -> None:
    """Hold what the subscribers have against the journal, and the journal against its own rules."""
    with contextlib.closing(sqlite3.connect(family.journal)) as db:
        report.wrong["damaged_pages"] = sum(text != "ok" for (text,) in db.execute("PRAGMA integrity_check"))
    events = [EventMessage.parse(text) for text in _messages(family.journal)]
    report.events, report.runs = len(events), len({event.run for event in events})
    report.crashed_ends = sum(event.reason is EndReason.CRASHED for event in events)
    written = [Line.of(event) for event in events]
    for name, path in family.records.items():
        expected = [line for line in written if name == "subscriber" or line.camera == FOLLOWED]
        got, gaps = record_lines(path)
        report.wrong["gaps_told"] += gaps
        compare(report, expected, got)
    check_order(report, events)


def compare(report: Report, expected: Sequence[Line], got: Sequence[Line]) -> None:
    """Count what a subscriber lacks, has twice, has in another order, or has that the journal never had."""
    places = {line: n for n, line in enumerate(expected)}
    report.wrong["missing"] += len(places.keys() - set(got))
    report.wrong["doubled"] += len(got) - len(set(got))
    report.wrong["not_in_journal"] += sum(line not in places for line in got)
    order = [places[line] for line in got if line in places]
    report.wrong["out_of_order"] += sum(later < before for before, later in pairwise(order))


def check_order(report: Report, events: Sequence[EventMessage]) -> None:
    """The contract: seq counts from 1 in each run, prev names the camera's event before, a start has one end."""
    seqs: Counter[str] = Counter()
    last: dict[str, Position] = {}
    phases: dict[str, list[Phase]] = {}
    for event in events:
        seqs[event.run] += 1
        report.wrong["seq_gaps"] += event.seq != seqs[event.run]
        report.wrong["wrong_prev"] += event.prev != last.get(event.camera)
        last[event.camera] = event.position
        phases.setdefault(event.id, []).append(event.phase)
    for told in phases.values():
        report.wrong["ends_without_start"] += told[0] is not Phase.START
        report.wrong["starts_without_end"] += told[-1] is not Phase.END
        report.wrong["doubled_ends"] += max(0, told.count(Phase.END) - 1)


def run(kills: int, seed: int, folder: Path, *, pauses_s: Sequence[float] = PAUSES_S) -> Report:
    chance = random.Random(seed)
    family = Family(folder, free_addresses())
    begun_s = time.monotonic()
    killed: Counter[str] = Counter()
    try:
        for name in family.names:
            family.start(name)
        for _ in track(range(kills), "killing", disable=not sys.stderr.isatty()):
            time.sleep(chance.uniform(0.0, chance.choice(pauses_s)))
            victim = chance.choice(["publisher", *family.names])
            family.kill(victim)
            killed[victim] += 1
            if chance.random() < 0.3:
                time.sleep(chance.uniform(0.0, DOWN_S))
            family.start(victim)
        before = len(record_lines(family.records["subscriber"])[0])
        family.settle()
    finally:
        family.close()
    report = Report(dict(killed), round(time.monotonic() - begun_s, 1))
    judge(report, family)
    report.caught_up_late = report.events - before
    return report


def free_addresses() -> tuple[str, str]:
    """Two addresses of this machine whose ports follow each other and are free."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError):
                second.bind(("127.0.0.1", port + 1))
                return f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port + 1}"


@contextlib.contextmanager
def _folder(path: Path | None) -> Iterator[Path]:
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        yield path
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the journal and the records here")
    options = parser.parse_args()
    with _folder(options.folder) as folder:
        report = run(options.kills, options.seed, folder)
    print(json.dumps(asdict(report)))
    sys.exit(1 if any(report.wrong.values()) else 0)


if __name__ == "__main__":
    main()
