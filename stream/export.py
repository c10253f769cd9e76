"""Export: a journal's events as a table, CSV or Parquet, for people and their tools.

The file is read without writing to it, a page at a time, so the service may be running and is not held up. A row is an
event message as it was published, oldest first. Times are UTC; `pts_*` is the camera's own clock in nanoseconds.
"""

from __future__ import annotations

import csv
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from stream.frame import NS_PER_S
from stream.home import expanded
from stream.journal_file import BROKEN, JournalError, connect_to_read, default_path, one_line
from stream.wire import EventMessage, Position

Format = Literal["csv", "parquet"]

_PAGE = 5000

_TEXT, _INTEGER, _REAL, _TIME = "string", "int64", "float64", "timestamp"
COLUMNS = {
    "run": _TEXT,
    "seq": _INTEGER,
    "id": _TEXT,
    "phase": _TEXT,
    "camera": _TEXT,
    "zone": _TEXT,
    "label": _TEXT,
    "score": _REAL,
    "peak": _REAL,
    "start": _TIME,
    "end": _TIME,
    "clock": _TEXT,
    "pts_start_ns": _INTEGER,
    "pts_end_ns": _INTEGER,
    "model": _TEXT,
    "model_version": _TEXT,
    "queue_ms": _REAL,
    "infer_ms": _REAL,
    "total_ms": _REAL,
    "reason": _TEXT,
}

Row = tuple[Any, ...]


class ExportError(Exception):
    """The table cannot be written. The text says what to do."""


def export_journal(
    out: Path,
    journal: Path | None = None,
    *,
    since: str | None = None,
    file_format: Format | None = None,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write the events of a journal (None: the default one) to `out`, all of it or nothing. Returns their number.

    since: after this position, RUN:SEQ, or what was written from this time on, such as 2026-11-24 or
    2026-11-24T11:00:00Z (UTC where it says no other zone). file_format: None takes it from the ending of `out`.
    on_rows: told how many rows of how many are written. Raises ExportError, JournalError.
    """
    kind = file_format or _format_of(out)
    path = expanded(journal or default_path())
    with closing(connect_to_read(path)) as db:
        try:
            where, values = _since(db, since)
            (total,) = db.execute(f"SELECT count(*) FROM events WHERE {where}", values).fetchone()
            done = 0
            with _whole(out) as part, _WRITERS[kind](part) as write:
                for rows in _pages(db, where, values):
                    write(rows)
                    done += len(rows)
                    on_rows(done, max(done, total))
            return done
        except BROKEN as error:
            raise JournalError(f"the journal {path} cannot be read: {one_line(error)}") from None
        except OSError as error:
            raise ExportError(f"cannot write {out}: {error.strerror or error}") from None


def _format_of(out: Path) -> Format:
    match out.suffix.lower():
        case ".csv":
            return "csv"
        case ".parquet":
            return "parquet"
    raise ExportError(f"what format is {out} to have? Name it *.csv or *.parquet, or say --format")


def _since(db: sqlite3.Connection, since: str | None) -> tuple[str, list[Any]]:
    """As a condition on the table of events."""
    if since is None or since == "first":
        return "1", []
    with suppress(ValueError):
        moment = datetime.fromisoformat(since)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return "written_ns >= ?", [min(int(moment.timestamp() * NS_PER_S), 2**63 - 1)]
    try:
        position = Position.of(since)
    except ValueError:
        raise ExportError(
            f"--since {since!r} is neither a position, RUN:SEQ, nor a time, 2026-11-24T11:00:00Z"
        ) from None
    found = db.execute("SELECT n FROM runs WHERE run = ?", [position.run]).fetchone()
    if found is None:
        raise ExportError(f"--since {since}: this journal knows no such run")
    return "(n, seq) > (?, ?)", [found[0], position.seq]


def _pages(db: sqlite3.Connection, where: str, values: Sequence[Any]) -> Iterator[list[Row]]:
    """Rows, a page in a transaction of its own: a long one would keep the service's log from being cleared."""
    after = (-1, 0)
    query = f"SELECT n, seq, message FROM events WHERE (n, seq) > (?, ?) AND {where} ORDER BY n, seq LIMIT ?"
    while found := db.execute(query, [*after, *values, _PAGE]).fetchall():
        yield [_row(EventMessage.parse(message)) for _, _, message in found]
        after = found[-1][:2]


def _row(event: EventMessage) -> Row:
    latency = event.latency_ms
    return (
        *(event.run, event.seq, event.id, event.phase.value, event.camera, event.zone, event.label),
        *(event.score, event.peak, event.start, event.end, event.clock, event.pts.start_ns, event.pts.end_ns),
        *(event.model.name, event.model.version, latency.queue, latency.infer, latency.total),
        event.reason and event.reason.value,
    )


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A file to write that becomes `out` when it is whole. Raises OSError."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)


class _Writer(Protocol):
    def __call__(self, rows: list[Row], /) -> object: ...


@contextmanager
def _csv(path: Path) -> Iterator[_Writer]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        yield writer.writerows


@contextmanager
def _parquet(path: Path) -> Iterator[_Writer]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ExportError(
            "Parquet needs pyarrow: pip install 'swinstream[export]', or export to a *.csv file"
        ) from None
    types = {
        kind: pa.timestamp("ms", tz="UTC") if kind == _TIME else pa.type_for_alias(kind) for kind in COLUMNS.values()
    }
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])

    def column(kind: str, values: Sequence[Any]) -> Any:
        if kind == _TIME:
            values = [value and datetime.fromisoformat(value) for value in values]
        return pa.array(values, types[kind])

    with pq.ParquetWriter(path, schema) as writer:

        def write(rows: list[Row]) -> None:
            columns = [
                column(kind, values) for kind, values in zip(COLUMNS.values(), zip(*rows, strict=True), strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))

        yield write


_WRITERS = {"csv": _csv, "parquet": _parquet}
