"""The journal's file: where it is, what tables it has, and whether a file is one and whole."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from stream.frame import NS_PER_S
from stream.lock import FileLock, LockedError

_APPLICATION_ID = 0x53574A4C  # "SWJL", in the file's header: whose file this is
_VERSION = 1

_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE runs (
    n INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, opened_ns INTEGER NOT NULL, closed INTEGER NOT NULL
);
CREATE TABLE events (
    n INTEGER NOT NULL REFERENCES runs, seq INTEGER NOT NULL, written_ns INTEGER NOT NULL,
    camera TEXT NOT NULL, topic TEXT NOT NULL, message TEXT NOT NULL, PRIMARY KEY (n, seq)
) WITHOUT ROWID;
CREATE INDEX events_of_camera ON events (camera, n, seq);
-- The last event of each camera, also when it has been pruned: what `prev` of its next event is.
CREATE TABLE cameras (camera TEXT PRIMARY KEY, run TEXT NOT NULL, seq INTEGER NOT NULL) WITHOUT ROWID;
-- Started and not ended, with the last message and the stream time up to which it was known to last.
CREATE TABLE open_events (id TEXT PRIMARY KEY, message TEXT NOT NULL, at_ns INTEGER NOT NULL);
-- One row once anything has been pruned: the oldest event kept.
CREATE TABLE pruned (run TEXT NOT NULL, seq INTEGER NOT NULL);
"""

# Events of a run, from first to last, that could not be written and are lost. Journals made before have no such table.
_HOLES = "CREATE TABLE IF NOT EXISTS holes (n INTEGER, first INTEGER, last INTEGER, PRIMARY KEY (n, first))"


class JournalError(Exception):
    """The journal cannot be opened, read or written. The text says what to do."""


class UnknownRunError(JournalError):
    """A position of a run that this journal has never seen."""


BROKEN = (sqlite3.Error, ValueError, TypeError)
"""What reading may raise: also values that cannot be, and error texts of SQLite's that are no UTF-8."""


def is_damage(error: Exception) -> bool:
    """Rather than a file that cannot be opened or written: a full disk, a missing permission."""
    if isinstance(error, sqlite3.OperationalError):
        # A table or a column is missing, or a text is no text.
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR
    return not isinstance(error, JournalError | OSError)


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def default_path() -> Path:
    """In the user's state folder: ~/.local/state/swinstream/events.sqlite3 on Linux."""
    return platformdirs.user_state_path("swinstream", appauthor=False) / "events.sqlite3"


def connect(path: Path) -> sqlite3.Connection:
    """The database in `path`, made if there is none.

    Raises one of BROKEN, which `is_damage` if the file is damaged or another program's.
    """
    db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    try:
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        elif (owner := db.execute("PRAGMA application_id").fetchone()[0]) != _APPLICATION_ID:
            raise sqlite3.DatabaseError(f"it is a database of another program, application id {owner}")
        elif (version := db.execute("PRAGMA user_version").fetchone()[0]) != _VERSION:
            raise sqlite3.DatabaseError(f"its layout is version {version}, this program writes {_VERSION}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        if not tables:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        unclean = db.execute("SELECT 1 FROM runs WHERE closed = 0 ORDER BY n DESC LIMIT 1").fetchone()
        if unclean:
            # The whole file is read: about a second per GB, and only after a crash.
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        db.execute(_HOLES)
        db.execute("PRAGMA busy_timeout = 250")  # from now on the core waits
    except BaseException:
        db.close()
        raise
    return db


def locked(path: Path) -> FileLock:
    """The right to write this journal, and its folder made. Raises JournalError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path.with_name(path.name + ".lock"))
    except LockedError as error:
        by = f"process {error.holder}" if error.holder else "another process"
        raise JournalError(
            f"the journal {path} is in use by {by}: stop that one, or give this one a journal of its own "
            "(--journal FILE, or journal.path in the configuration)"
        ) from None
    except OSError as error:
        raise JournalError(
            f"cannot use {path.parent} for the journal: {error.strerror}; choose another file with --journal "
            "or journal.path"
        ) from None


def damaged(path: Path, error: Exception) -> JournalError:
    return JournalError(
        f"the journal {path} is damaged or not a journal ({one_line(error)}). Nothing was changed. Move it and its "
        "-wal file away, or set journal.move_aside_damaged: true to have that done, or choose another file with "
        "--journal"
    )


def set_aside(path: Path, now_ns: int) -> None:
    """Give a damaged journal another name. Raises OSError."""
    stamp = datetime.fromtimestamp(now_ns / NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ")
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(path.with_name(f"{path.name}.damaged-{stamp}{suffix}"))


def connect_to_read(path: Path) -> sqlite3.Connection:
    """The journal in `path`, which a service may be writing. Raises JournalError."""
    if not path.is_file():
        raise JournalError(f"there is no journal {path}: name it with --journal")
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
        try:
            (owner,) = db.execute("PRAGMA application_id").fetchone()
            if owner != _APPLICATION_ID:
                raise sqlite3.DatabaseError("it is no journal of swinstream")
        except BaseException:
            db.close()
            raise
    except BROKEN as error:
        raise JournalError(f"the journal {path} cannot be read: {one_line(error)}") from None
    return db
