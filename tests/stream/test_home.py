from __future__ import annotations

from pathlib import Path

import pytest

from stream.home import expanded


def test_home_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a"
    assert expanded(Path("b/~c")) == Path("b/~c")


def test_a_user_who_does_not_exist() -> None:
    with pytest.raises(ValueError, match="~nosuchuser/a: ~nosuchuser is the home folder of nobody"):
        expanded("~nosuchuser/a")
