"""Export: what is in the journal is in the table, whole or not at all."""

from __future__ import annotations

import csv
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stream import export
from stream.events import Phase
from stream.export import COLUMNS, ExportError, export_journal
from stream.journal import Journal, JournalError
from stream.wire import EventMessage
from tests.stream.test_journal import UTC_NS, S, draft, read_all, whole


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "events.sqlite3"
    now_ns = UTC_NS
    with closing(Journal(path, now_ns=lambda: now_ns)) as writing:
        for number in range(6):
            writing.append(whole(number, "yard" if number % 2 else "gate"))
            now_ns += 60 * S
    with closing(Journal(path)) as writing:
        writing.append([draft(Phase.START, 9)])
    return path


@pytest.fixture
def events(journal: Path) -> list[EventMessage]:
    with closing(Journal(journal)) as reading:
        return [event for event in read_all(reading) if event.run != reading.run]


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["out.csv", "out.PARQUET", "out.parquet"])
def test_every_event_is_a_row(
    journal: Path, events: list[EventMessage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(export, "_PAGE", 5)  # several pages
    told: list[tuple[int, int]] = []
    out = tmp_path / name
    count = export_journal(out, journal, on_rows=lambda *done: told.append(done))
    rows = rows_of(out if name != "out.PARQUET" else out.rename(tmp_path / "again.parquet"))
    assert count == len(rows) == told[-1][0] == told[-1][1]
    assert set(rows[0]) == set(COLUMNS)
    assert [(row["run"], int(row["seq"]), row["id"]) for row in rows][: len(events)] == [
        (event.run, event.seq, event.id) for event in events
    ]
    ended = rows[1]
    assert (ended["phase"], ended["camera"], ended["label"], ended["reason"]) == ("end", "gate", "walk", "score")
    assert float(ended["score"]) == 0.9
    assert int(ended["pts_end_ns"]) == 2 * S
    if name == "out.csv":
        assert (ended["end"], ended["total_ms"]) == ("2026-11-24T11:00:02.000Z", "")
    else:
        assert (ended["end"], ended["total_ms"]) == (datetime(2026, 11, 24, 11, 0, 2, tzinfo=UTC), None)


def test_since_a_position_and_since_a_time(journal: Path, events: list[EventMessage], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    total = export_journal(out, journal)
    assert export_journal(out, journal, since="first") == total
    assert export_journal(out, journal, since=str(events[3].position)) == total - 4
    assert rows_of(out)[0]["seq"] == "5"
    for moment in ("2026-11-24T11:02:00Z", "2026-11-24 11:02", "2026-11-24T12:02:00+01:00"):
        assert export_journal(out, journal, since=moment) == total - 4
    assert export_journal(out, journal, since="2026-11-24") == total
    assert export_journal(out, journal, since="2999-01-01") == 0
    assert rows_of(out) == []


def test_while_the_service_writes(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite3"
    with closing(Journal(path)) as writing:
        writing.append(whole(1))
        assert export_journal(tmp_path / "out.csv", path) == 2
        writing.append(whole(2))
        assert export_journal(tmp_path / "out.csv", path) == 4
        assert not writing.trouble


@pytest.mark.parametrize(
    ("name", "since", "error"),
    [
        ("out.txt", None, r"Name it \*\.csv or \*\.parquet, or say --format"),
        ("out.csv", "yesterday", "neither a position"),
        ("out.csv", "01JNOBODY:3", "knows no such run"),
        ("no-such-folder/out.csv", None, "cannot write .*No such file or directory"),
    ],
)
def test_what_cannot_be(journal: Path, tmp_path: Path, name: str, since: str | None, error: str) -> None:
    with pytest.raises(ExportError, match=error) as caught:
        export_journal(tmp_path / name, journal, since=since)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.glob("*out*")) == []


def test_without_pyarrow(journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportError, match=r"pip install 'swinstream\[export\]'"):
        export_journal(tmp_path / "out.parquet", journal)
    assert list(tmp_path.glob("*out*")) == []


@pytest.mark.parametrize("content", [None, b"", b"text" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_journal_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "events.sqlite3"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(JournalError, match=r"there is no journal|cannot be read"):
        export_journal(tmp_path / "out.csv", path)


def test_a_damaged_journal_leaves_what_was_there(journal: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    export_journal(out, journal)
    before = out.read_bytes()
    with closing(Journal(journal)) as writing:
        for number in range(100):
            writing.append(whole(number))
        writing._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    data = bytearray(journal.read_bytes())
    for page in range(4, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    journal.write_bytes(data)
    with pytest.raises(JournalError, match="cannot be read"):
        export_journal(out, journal)
    assert out.read_bytes() == before
