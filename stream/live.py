"""Live: the service's picture in a terminal while it runs, with logs above it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TextIO, cast

from rich.console import Console, RenderableType
from rich.live import Live

from stream.logs import set_up_logging
from stream.service import Service

REFRESH_S = 0.25

Picture = Callable[[Service, str], RenderableType]


class Screen:
    """A live picture of the service, at most four times a second.

    It is drawn by the thread that runs the service: another would read what is being changed.
    """

    def __init__(self, console: Console, picture: Picture) -> None:
        self._console = console
        self._picture = picture

    @contextlib.contextmanager
    def showing(self, service: Service, header: str) -> Iterator[Callable[[], None]]:
        """Gives what draws it, to be called often; the last picture stays."""
        drawn_s = -REFRESH_S

        def draw() -> None:
            nonlocal drawn_s
            now_s = time.monotonic()
            if now_s - drawn_s >= REFRESH_S:
                drawn_s = now_s
                live.update(self._picture(service, header), refresh=True)

        with Live(console=self._console, auto_refresh=False, redirect_stdout=False) as live:
            set_up_logging(stream=cast(TextIO, _Printer(self._console)))
            try:
                yield draw
            finally:
                set_up_logging()
                live.update(self._picture(service, header), refresh=True)


class _Printer:
    """A text stream that writes through rich, so that lines do not break the live picture."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        if text.strip():
            self._console.print(text.rstrip("\n"), markup=False, highlight=False, soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        pass
