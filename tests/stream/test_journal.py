"""Journal: order, recovery and refusals, on real files and with really killed processes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stream import journal as journal_module
from stream.events import EndReason, Phase
from stream.journal import Journal, JournalError, Retention, UnknownRunError
from stream.wire import EventDraft, EventMessage, Latency, ModelRef, Position, PtsSpan, iso_utc

S = 1_000_000_000
UTC_NS = 1_795_518_000 * S
ROOT = Path(__file__).parents[2]


def draft(
    phase: Phase = Phase.START, number: int = 0, camera: str = "yard", at_s: float = 1.0, end_s: float | None = None
) -> EventDraft:
    end_ns = None if end_s is None else round(end_s * S)
    return EventDraft(
        id=f"id{number}",
        phase=phase,
        camera=camera,
        zone="full",
        label="walk",
        score=0.9,
        peak=0.9,
        start=iso_utc(UTC_NS),
        end=None if end_ns is None else iso_utc(UTC_NS + end_ns),
        clock="arrival",
        pts=PtsSpan(start_ns=0, end_ns=end_ns),
        model=ModelRef(name="movements", version="1"),
        latency_ms=Latency(),
        reason=None if end_ns is None else EndReason.SCORE,
        at_ns=round(at_s * S),
    )


def whole(number: int, camera: str = "yard") -> list[EventDraft]:
    return [draft(Phase.START, number, camera), draft(Phase.END, number, camera, end_s=2)]


def read_all(journal: Journal, camera: str | None = None, limit: int = 1000) -> list[EventMessage]:
    return [EventMessage.parse(text) for _, text in journal.read("first", camera, limit).events]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "events.sqlite3"


class TestOrder:
    def test_seq_counts_from_one_and_prev_is_the_same_cameras(self, path: Path) -> None:
        with contextlib.closing(Journal(path)) as journal:
            messages = journal.append([draft(number=1), draft(number=2, camera="gate"), draft(number=3)])
            assert [m.seq for m in messages] == [1, 2, 3]
            assert {m.run for m in messages} == {journal.run}
            assert [m.prev and m.prev.seq for m in messages] == [None, None, 1]
            assert journal.append([draft(number=4, camera="gate")])[0].prev == Position(run=journal.run, seq=2)
            assert journal.head == Position(run=journal.run, seq=4)
            assert {c: p.seq for c, p in journal.last.items()} == {"yard": 3, "gate": 4}

    def test_prev_goes_on_across_runs_and_seq_begins_anew(self, path: Path) -> None:
        with contextlib.closing(Journal(path)) as journal:
            journal.append(whole(1))
            first = journal.run
        with contextlib.closing(Journal(path)) as journal:
            assert journal.head == Position(run=journal.run, seq=0)
            assert journal.last["yard"] == Position(run=first, seq=2)
            (message,) = journal.append([draft(number=2)])
            assert (message.seq, message.prev) == (1, Position(run=first, seq=2))

    def test_runs_sort_as_they_happened_even_if_the_clock_is_set_back(self, path: Path) -> None:
        runs = []
        for _ in range(3):
            with contextlib.closing(Journal(path)) as journal:
                runs.append(journal.run)
                # As if this run had begun in the year 2106.
                with contextlib.closing(sqlite3.connect(path)) as db, db:
                    db.execute("UPDATE runs SET run = '7' || substr(run, 2) WHERE run NOT LIKE '7%'")
        with contextlib.closing(Journal(path)) as journal:
            runs.append(journal.run)
        assert runs[1] > "7"
        assert runs[1:] == sorted(runs[1:])

    def test_what_is_written_is_what_is_told(self, path: Path) -> None:
        with contextlib.closing(Journal(path)) as journal:
            messages = journal.append(whole(1))
            page = journal.read("first", None, 10)
            assert page.events == [(m.topic, m.json_text()) for m in messages]


class TestRead:
    def test_pages(self, path: Path) -> None:
        with contextlib.closing(Journal(path)) as journal:
            journal.append(whole(1) + whole(2))
            page = journal.read("first", None, 3)
            assert (len(page.events), page.next.seq, page.more) == (3, 3, True)
            page = journal.read(page.next, None, 3)
            assert (len(page.events), page.next.seq, page.more) == (1, 4, False)
            page = journal.read(page.next, None, 3)
            assert (page.events, page.next.seq, page.more) == ([], 4, False)

    def test_an_exactly_full_page_has_no_more(self, path: Path) -> None:
        with contextlib.closing(Journal(path)) as journal:
            journal.append(whole(1))
            page = journal.read("first", None, 2)
            assert (len(page.events), page.more) == (2, False)

    def test_one_camera_and_the_whole_position_to_go_on_from(self, path: Path) -> None:
        with contextlib.closing(Journal(path)) as journal:
            journal.append(whole(1, "yard") + whole(2, "gate") + whole(3, "yard") + whole(4, "gate"))
            page = journal.read("first", "yard", 3)
            assert [EventMessage.parse(t).seq for _, t in page.events] == [1, 2, 5]
            assert (page.next.seq, page.more) == (5, True)
            page = journal.read(page.next, "yard", 3)
            assert [EventMessage.parse(t).seq for _, t in page.events] == [6]
            assert (page.next, page.more) == (journal.head, False)
            assert journal.read("first", "nobody", 3).events == []

    def test_across_runs(self, path: Path) -> None:
        for number in range(3):
            with contextlib.closing(Journal(path)) as journal:
                journal.append(whole(number))
        with contextlib.closing(Journal(path)) as journal:
            messages = read_all(journal)
            assert [m.seq for m in messages] == [1, 2] * 3
            after = messages[2].position
            assert [t for _, t in journal.read(after, None, 9).events] == [m.json_text() for m in messages[3:]]

    def test_last_and_the_beginning_of_a_run(self, path: Path) -> None:
        with contextlib.closing(Journal(path)) as journal:
            journal.append(whole(1))
            page = journal.read("last", None, 10)
            assert (page.events, page.next, page.more) == ([], journal.head, False)
            assert len(journal.read(Position(run=journal.run, seq=0), None, 10).events) == 2

    def test_an_unknown_run(self, path: Path) -> None:
        with contextlib.closing(Journal(path)) as journal, pytest.raises(UnknownRunError):
            journal.read(Position(run="01JNOBODY", seq=1), None, 10)


class TestRecovery:
    def test_what_was_left_open_is_ended_first_of_all_at_the_last_time_known(self, path: Path) -> None:
        journal = Journal(path)
        journal.append([*whole(1), draft(number=2, at_s=1.0), draft(number=3, camera="gate", at_s=1.0)])
        journal.append([draft(Phase.UPDATE, number=2, at_s=2.5)])
        left = journal.head
        journal._db.close()  # as a killed process leaves it: nothing is ended, closed or unlocked by us
        journal._lock.release()

        with contextlib.closing(Journal(path)) as journal:
            ends = {m.id: m for m in journal.recovered}
            assert set(ends) == {"id2", "id3"}
            assert {m.phase for m in ends.values()} == {Phase.END}
            assert {m.reason for m in ends.values()} == {EndReason.CRASHED}
            assert {m.run for m in ends.values()} == {journal.run}
            assert sorted(m.seq for m in ends.values()) == [1, 2]
            assert ends["id2"].pts == PtsSpan(start_ns=0, end_ns=2_500_000_000)
            assert ends["id2"].end == "2026-11-24T11:00:02.500Z"
            assert ends["id3"].pts.end_ns == 1_000_000_000
            assert ends["id2"].prev == left
            assert ends["id2"].latency_ms == Latency()
        with contextlib.closing(Journal(path)) as journal:
            assert journal.recovered == []  # once


class TestRefusals:
    def test_a_second_process_on_the_same_journal(self, path: Path) -> None:
        with contextlib.closing(Journal(path)):
            code = (
                "import sys; from pathlib import Path; from stream.journal import Journal, JournalError\n"
                "try: Journal(Path(sys.argv[1]))\n"
                "except JournalError as error: print(error)"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True
            )
            assert f"{path} is in use by process {os.getpid()}" in done.stdout
            assert "--journal" in done.stdout
        Journal(path).close()

    def test_the_same_file_by_another_name(self, path: Path) -> None:
        with contextlib.closing(Journal(path)):
            link = path.with_name("link")
            link.symlink_to(path)
            with pytest.raises(JournalError, match="in use"):
                Journal(link)

    @pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
    def test_a_damaged_file_is_left_alone(self, path: Path, content: bytes) -> None:
        path.parent.mkdir()
        path.write_bytes(content)
        with pytest.raises(JournalError, match=r"damaged.*Nothing was changed.*move_aside_damaged") as caught:
            Journal(path)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == content
        with contextlib.closing(Journal(path, move_aside=True)) as journal:
            journal.append(whole(1))
        (kept,) = path.parent.glob("*.damaged-*Z")
        assert kept.read_bytes() == content

    def test_a_page_damaged_in_the_middle_is_found_after_a_crash(self, path: Path) -> None:
        journal = Journal(path)
        for number in range(300):
            journal.append(whole(number))
        journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        journal._db.close()
        journal._lock.release()
        data = bytearray(path.read_bytes())
        middle = len(data) // 2 // 4096 * 4096
        data[middle : middle + 4096] = os.urandom(4096)
        path.write_bytes(data)
        with pytest.raises(JournalError, match="damaged"):
            Journal(path)

    def test_another_programs_database(self, path: Path) -> None:
        path.parent.mkdir()
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE cookies (a)")
        with pytest.raises(JournalError, match="another program"):
            Journal(path)

    def test_a_newer_layout(self, path: Path) -> None:
        Journal(path).close()
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 2")
        with pytest.raises(JournalError, match="version 2, this program writes 1"):
            Journal(path)

    def test_a_folder_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(JournalError, match="for the journal"):
            Journal(tmp_path / "file" / "events.sqlite3")

    def test_a_path_that_is_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "events.sqlite3").mkdir()
        with pytest.raises(JournalError, match="cannot use the journal"):
            Journal(tmp_path / "events.sqlite3")
        (tmp_path / "events.sqlite3").rmdir()
        Journal(tmp_path / "events.sqlite3").close()  # the lock was given back


class TestRetention:
    def test_by_age(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(journal_module, "_PRUNE_ROWS", 3)
        now_ns = UTC_NS
        with contextlib.closing(Journal(path, retention=Retention(max_age_s=100), now_ns=lambda: now_ns)) as journal:
            assert journal.pruned_before is None
            for number in range(4):
                journal.append(whole(number))
                now_ns += 30 * S
            assert not journal.prune()  # 120, 90, 60 and 30 s old: two events of one append are too old
            assert journal.pruned_before == Position(run=journal.run, seq=3)
            assert [m.seq for m in read_all(journal)] == [3, 4, 5, 6, 7, 8]
            now_ns += 1000 * S
            assert journal.prune()
            assert journal.prune()
            assert not journal.prune()
            assert journal.pruned_before == Position(run=journal.run, seq=9)
            assert read_all(journal) == []
            # The chain goes on over what has been deleted.
            assert journal.append([draft(number=9)])[0].prev == Position(run=journal.run, seq=8)
        with contextlib.closing(Journal(path)) as journal:
            assert journal.pruned_before is not None
            assert [m.reason for m in read_all(journal)][-1] is EndReason.CRASHED

    def test_by_size(self, path: Path) -> None:
        limit = 400_000
        with contextlib.closing(Journal(path, retention=Retention(max_bytes=limit))) as journal:
            for number in range(1000):
                journal.append(whole(number))
            assert journal._used_bytes() > limit
            while journal.prune():
                pass
            journal.prune()
            assert journal._used_bytes() <= limit
            kept = read_all(journal, limit=10_000)
            assert kept[-1].seq == 2000
            assert journal.pruned_before == kept[0].position
            assert len(kept) > 100
