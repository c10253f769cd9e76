"""What happens to events that the disk does not take: held, replayed, written later; and when they are lost, told."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stream import subscribe
from stream.journal import Journal, JournalError
from stream.journal_backlog import Backlog, Mark, MarkFile, Row
from stream.publish import Publisher
from stream.sequence import Gap
from stream.subscription import Subscription
from stream.wire import EventMessage, Position, StatusMessage
from tests.event_publisher import PublisherThread, free_addresses, read_journal

Addresses = tuple[str, str]


class Disk:
    """A folder whose journal can be made impossible to write, and possible again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "events.sqlite3"

    def fill(self) -> None:
        with contextlib.suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def clear(self) -> None:
        (self.folder / "filler").unlink(missing_ok=True)


class LockedDisk(Disk):
    """Another program has begun to write to the journal and does not end."""

    def fill(self) -> None:
        self._other = sqlite3.connect(self.journal, isolation_level=None)
        self._other.execute("BEGIN IMMEDIATE")

    def clear(self) -> None:
        self._other.close()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield Disk(folder)
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(params=["full", "locked"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return request.getfixturevalue("full_disk") if request.param == "full" else LockedDisk(tmp_path)


@pytest.fixture
def addresses() -> Addresses:
    return free_addresses()


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def replayed(address: str, since: Position | str = "first", camera: str | None = None) -> list[EventMessage | Gap]:
    """What a client gets that comes now, gaps among it."""
    items = subscribe.messages(address, since=since, camera=camera, timeout_s=0.1)
    got: list[EventMessage | Gap] = []
    for item in items:
        if isinstance(item, EventMessage | Gap):
            got.append(item)
        elif got and not isinstance(item, StatusMessage):
            break  # a heartbeat: all that there is has come
    return got


def held(server: PublisherThread) -> int:
    return server.call(lambda publisher: publisher.stats.held)


def test_events_go_on_and_are_written_when_there_is_room(
    disk: Disk, addresses: Addresses, caplog: pytest.LogCaptureFixture
) -> None:
    with PublisherThread(disk.folder, addresses) as server, Subscription(addresses[0], since="first") as subscription:
        items = subscription.messages(timeout_s=20)
        sent = server.fill(20)
        server.call(lambda publisher: publisher.status("yard", "live"))
        disk.fill()
        sent += server.fill(100)
        assert held(server) >= 90  # what the last page had room for, it took
        assert "recognition goes on" in caplog.text
        trouble = server.call(lambda publisher: publisher._journal.trouble)
        assert "cannot be written" in trouble
        assert replayed(addresses[0]) == sent  # from disk and from memory
        assert replayed(addresses[0], sent[60].position, "yard") == sent[61:]
        disk.clear()
        until(lambda: held(server) == 0)
        assert "the journal is written again" in caplog.text
        sent += server.fill(10)
        assert replayed(addresses[0]) == sent
        stats = server.call(lambda publisher: publisher.stats)
        assert stats.journal_failures > 0
        assert (stats.events, stats.lost) == (len(sent), 0)
        heard: list[EventMessage] = []
        told: list[str] = []
        while len(heard) < len(sent) or told != ["", trouble, ""]:
            match next(items):
                case EventMessage() as event:
                    heard.append(event)
                case StatusMessage(message=message) if [message or ""] != told[-1:]:
                    told.append(message or "")
                case _:
                    pass
    assert heard == sent
    assert read_journal(disk.folder) == sent


def test_what_does_not_fit_into_memory_either_is_a_hole_that_replay_tells(disk: Disk, addresses: Addresses) -> None:
    def shrink(publisher: Publisher) -> None:
        publisher._journal._backlog._limit = 50

    with PublisherThread(disk.folder, addresses) as server:
        sent = server.fill(20)
        server.call(shrink)
        disk.fill()
        sent += server.fill(100)
        kept = sent[-held(server) :]
        lost = server.call(lambda publisher: publisher.stats.lost)
        written = sent[: len(sent) - lost - len(kept)]
        assert len(kept) == 50
        expected = [*written, Gap(written[-1].position, kept[0].position, "the publisher's journal does not have them")]
        for camera in (None, "yard"):
            assert replayed(addresses[0], camera=camera) == [*expected, *kept]
            assert replayed(addresses[0], sent[-3].position, camera) == sent[-2:]
        disk.clear()
        until(lambda: held(server) == 0)
        assert replayed(addresses[0]) == [*expected, *kept]
    with PublisherThread(disk.folder, addresses) as server:  # it is in the journal
        new = server.fill(5)
        assert replayed(addresses[0]) == [*expected, *kept, *new]
    assert read_all(disk) == [*written, *kept, *new]


def read_all(disk: Disk) -> list[EventMessage]:
    with closing(sqlite3.connect(disk.journal)) as db:
        return [EventMessage.parse(text) for (text,) in db.execute("SELECT message FROM events ORDER BY n, seq")]


def test_what_was_held_by_a_run_that_ended_is_a_hole_too(disk: Disk, addresses: Addresses) -> None:
    """Who heard those events misses nothing, who did not is told."""
    with PublisherThread(disk.folder, addresses) as server:
        sent = server.fill(20)
        disk.fill()
        sent += server.fill(30)
        count = held(server)
    disk.clear()
    written, unwritten = sent[:-count], sent[-count:]
    assert read_all(disk) == written
    with PublisherThread(disk.folder, addresses) as server:
        new = server.fill(10)
        gap = Gap(written[-1].position, new[0].position, "the publisher's journal does not have them")
        assert replayed(addresses[0]) == [*written, gap, *new]
        assert replayed(addresses[0], written[-1].position, "yard") == [gap, *new]
        halfway = unwritten[4].position
        assert replayed(addresses[0], halfway) == [Gap(halfway, new[0].position, gap.reason), *new]
        assert replayed(addresses[0], unwritten[-1].position) == new
        assert replayed(addresses[0], unwritten[-1].position, "yard") == new


def test_a_full_disk_at_the_start_is_refused(full_disk: Disk) -> None:
    full_disk.fill()
    with pytest.raises(JournalError, match="No space left on device"):
        Journal(full_disk.journal)
    full_disk.clear()
    Journal(full_disk.journal).close()


def test_open_events_are_known_again_after_a_hole(disk: Disk) -> None:
    """An event whose start was written and whose end was lost in the hole is not ended a second time."""
    from stream.events import Phase
    from tests.stream.test_journal import draft, whole

    with closing(Journal(disk.journal)) as journal:
        journal.append([draft(number=1), draft(number=2)])
        disk.fill()
        journal._backlog._limit = 10
        journal.append([draft(Phase.END, number=1, end_s=2)] + [d for n in range(100, 120) for d in whole(n)])
        assert journal.lost > 0
        disk.clear()
        journal.write_held()
        assert not journal.trouble
    with closing(Journal(disk.journal)) as journal:
        assert [event.id for event in journal.recovered] == ["id2"]


# ---- parts


def row(seq: int) -> Row:
    return Row(1, seq, 0, "yard", "topic", "message")


@pytest.fixture
def mark(tmp_path: Path) -> MarkFile:
    return MarkFile(tmp_path / "mark")


def test_backlog_keeps_the_newest_and_marks_all_that_is_not_written(mark: MarkFile) -> None:
    backlog = Backlog("RUN", mark, [], limit=3)
    backlog.hold([row(7), row(8)])
    assert mark.read() == Mark("RUN", 7, 8)
    backlog.hold([row(9), row(10), row(11)])
    assert [r.seq for r in backlog.rows] == [9, 10, 11]
    assert [(hole.first, hole.last) for hole in backlog.holes] == [(7, 8)]
    assert mark.read() == Mark("RUN", 7, 11)
    backlog.written()
    assert mark.read() is None
    backlog.hold([row(n) for n in range(12, 17)])
    assert [(hole.first, hole.last) for hole in backlog.holes] == [(7, 8), (12, 13)]
    assert backlog.lost == 4


@pytest.mark.parametrize("content", [b"", b"\xff" * 500, b"RUN 1", b"RUN x 2", b"RUN 1 2 3", b"RUN -1 2"])
def test_a_mark_that_makes_no_sense_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mark"
    path.write_bytes(content)
    mark = MarkFile(path)
    assert mark.read() is None
    mark.write(Mark("RUN", 1, 2))
    assert mark.read() == Mark("RUN", 1, 2)
