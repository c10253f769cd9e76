"""Screen: a picture that is drawn by the thread that runs the service, and logs above it."""

from __future__ import annotations

import io
import logging
from typing import Any, cast

import pytest
from rich.console import Console
from rich.text import Text

from stream import live
from stream.live import Screen

pytestmark = pytest.mark.usefixtures("own_process")


def test_pictures_and_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200, legacy_windows=False)
    drawn: list[int] = []

    def picture(_service: Any, header: str) -> Text:
        drawn.append(len(drawn))
        return Text(f"{header} picture {len(drawn)}")

    with Screen(console, picture).showing(cast(Any, None), "head") as draw:
        for _ in range(50):
            draw()
        assert len(drawn) == 1  # not oftener than four times a second
        monkeypatch.setattr(live, "REFRESH_S", 0.0)
        draw()
        logging.getLogger("stream.test").info("a line [not markup] of the log")
    text = out.getvalue()
    assert len(drawn) == 3
    assert "head picture 1" in text
    assert "a line [not markup] of the log" in text
    assert text.rindex("head picture 3") > text.index("a line")  # the last picture stays


def test_what_happens_inside_comes_out() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    screen = Screen(console, lambda service, header: Text(header))
    with pytest.raises(ZeroDivisionError), screen.showing(cast(Any, None), "head"):
        _ = 1 / 0
