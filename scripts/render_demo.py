"""Draw the screen of `swinstream demo` as a picture: python scripts/render_demo.py docs/demo.svg [--model BUNDLE]

Runs the real demo on free ports, waits until some events are on the screen and the actor's action is recognized,
and saves what a terminal would show then.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from stream.demo.command import FREE, Audience, perform, picture, recognized
from stream.service import Service

WIDTH = 108


class Snapshot:
    """A display that takes one picture, at a good moment or at the last one."""

    def __init__(self, audience: Audience, stop: threading.Event, path: Path, after_s: float, until_s: float) -> None:
        self._audience, self._stop, self._path = audience, stop, path
        self._after_s, self._until_s = after_s, until_s

    @contextlib.contextmanager
    def showing(self, service: Service, header: str) -> Iterator[Callable[[], None]]:
        begun_s = time.monotonic()

        def look() -> None:
            passed_s = time.monotonic() - begun_s
            good = passed_s > self._after_s and self._audience.now() in recognized(service)
            if not self._stop.is_set() and (good or passed_s > self._until_s):
                console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
                console.print(picture(service, header, self._audience))
                console.save_svg(str(self._path), title="swinstream demo")
                self._stop.set()

        yield look


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--after", type=float, default=45.0, help="seconds to wait at least")
    parser.add_argument("--until", type=float, default=120.0, help="seconds to wait at most")
    args = parser.parse_args()
    stop = threading.Event()
    options = {"model": args.model, "engine": None, "publish": FREE, "replay": FREE}
    perform(
        args.seed,
        options,
        stop,
        show=lambda event, mark: None,
        display=lambda audience: Snapshot(audience, stop, args.path, args.after, args.until),
    )


if __name__ == "__main__":
    main()
