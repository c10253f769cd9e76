from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stream.journal_file import connect, default_path


def test_default_is_in_the_users_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "swinstream" / "events.sqlite3"


def test_others_may_read_while_we_write(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite3"
    with closing(connect(path)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO runs (run, opened_ns, closed) VALUES ('R', 0, 0)")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
            assert reader.execute("SELECT count(*) FROM runs").fetchone() == (0,)
            db.execute("COMMIT")
            assert reader.execute("SELECT count(*) FROM runs").fetchone() == (1,)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("PRAGMA application_id = 7", "another program, application id 7"),
        ("PRAGMA user_version = 9", "version 9, this program writes 1"),
    ],
)
def test_another_programs_and_another_versions(tmp_path: Path, statement: str, error: str) -> None:
    path = tmp_path / "events.sqlite3"
    connect(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
    with pytest.raises(sqlite3.DatabaseError, match=error):
        connect(path)
