"""Live: the service's picture in a terminal while it runs, with logs above it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TextIO, cast

from rich.console import Console, RenderableType
from rich.live import Live

from stream.logs import set_up_logging
from stream.service import Service

Picture = Callable[[Service, str], RenderableType]


class Screen:
    """A live picture of the service, at most four times a second."""

    def __init__(self, console: Console, picture: Picture) -> None:
        self._console = console
        self._picture = picture

    @contextlib.contextmanager
    def showing(self, service: Service, header: str) -> Iterator[None]:
        """Draws until the block ends; logs appear above the picture."""
        console = self._console
        live = Live(
            console=console,
            get_renderable=lambda: self._picture(service, header),
            refresh_per_second=4,
            redirect_stdout=False,
        )
        with live:
            set_up_logging(stream=cast(TextIO, _Printer(console)))
            try:
                yield
            finally:
                set_up_logging()


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
