"""The journal's file: where it is, what tables it has, and whether a file is one and whole."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import platformdirs

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


def default_path() -> Path:
    """In the user's state folder: ~/.local/state/swinstream/events.sqlite3 on Linux."""
    return platformdirs.user_state_path("swinstream", appauthor=False) / "events.sqlite3"


def connect(path: Path) -> sqlite3.Connection:
    """The database in `path`, made if there is none.

    Raises sqlite3.DatabaseError if the file is damaged or another program's.
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
            db.execute("UPDATE runs SET closed = 1")
    except BaseException:
        db.close()
        raise
    return db
