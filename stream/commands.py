"""The streaming commands: run, reload, subscribe, export, keys. Each returns 0: done, 1: failed, or 2: wrong usage."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.progress import Progress
from rich.text import Text

from engine.bundle import BundleError
from engine.runtime.base import EngineError
from stream import subscribe as client
from stream.config import Config
from stream.config_file import load_config
from stream.config_problem import ConfigError
from stream.demo.camera import DemoCameraError
from stream.events import Phase
from stream.export import ExportError, Format, export_journal
from stream.journal import JournalError
from stream.live import Screen
from stream.logs import set_up_logging
from stream.monitor import MonitorError
from stream.plan import make_plan
from stream.publish import PublishError
from stream.recognition import RecognitionError
from stream.reload import ask_to_reload, running_process
from stream.screen import camera_table, event_text, with_recent
from stream.security import ClientCurve, SecurityError, load_key_pair, load_public_key, make_keys
from stream.serve import serve
from stream.service import Service
from stream.stopper import Stopper
from stream.thresholds import ThresholdsError
from stream.wire import EventMessage

OK, FAILED, USAGE = 0, 1, 2

RECENT = 10  # events below the live table
MIN_ROWS = 4

USAGE_ERRORS = (ConfigError, BundleError, ThresholdsError, SecurityError, ExportError, client.SubscribeError)
FAILURES = (PublishError, MonitorError, JournalError, EngineError, RecognitionError, DemoCameraError)


@contextlib.contextmanager
def guarded(console: Console) -> Iterator[list[int]]:
    """Turns our errors into clear lines and an exit code, which is the list's only entry afterwards."""
    code = [OK]
    try:
        yield code
    except USAGE_ERRORS as error:
        code[0] = say(console, error, USAGE)
    except FAILURES as error:
        code[0] = say(console, error, FAILED)
    except BrokenPipeError:
        # Whoever read standard output is gone (`| head`): nobody to tell, and Python is not to flush it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code[0] = FAILED


def say(console: Console, error: Exception | str, code: int) -> int:
    """A line for each of the error's; returns the code."""
    for line in str(error).splitlines():
        console.print(f"swinstream: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    return code


class Output(Console):
    """Standard output. A reader that is gone is an exception like any other, so that things end in order."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class EventLines:
    """Events on standard output: a JSON object a line, or a line for people at each start and end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._out = Output(highlight=False, soft_wrap=True)

    @property
    def is_terminal(self) -> bool:
        return self._out.is_terminal

    def show(self, event: EventMessage, mark: Text | None = None) -> None:
        """mark: a word that goes before the line."""
        if self._as_json:
            sys.stdout.write(event.json_text() + "\n")
            sys.stdout.flush()
        elif event.phase is not Phase.UPDATE:
            text = event_text(event)
            self._out.print(text if mark is None else Text.assemble(mark, " ", text))


def run(config_path: Path | None, cameras: Sequence[str], options: dict[str, str | None], as_json: bool) -> int:
    """`swinstream run`."""
    err = Console(stderr=True)
    set_up_logging(as_json=as_json)
    with Stopper(reloads=config_path is not None) as stopper, guarded(err) as code:
        if config_path is not None and cameras:
            raise ConfigError(
                f"give the configuration file {config_path} or --camera, not both: list cameras in the file"
            )
        if config_path is None and not cameras:
            raise ConfigError("nothing to watch: give a configuration file, or --camera NAME=URI (see --help)")

        def load() -> Config:
            base = load_config(config_path) if config_path is not None else Config.from_cameras(cameras)
            return base.with_options(**options)

        config = load()
        lines = EventLines(as_json=as_json)
        recent: deque[EventMessage] = deque(maxlen=RECENT)
        live = err.is_terminal and not as_json

        def show(events: Sequence[EventMessage]) -> None:
            for event in events:
                if live and lines.is_terminal:  # there they stand below the table
                    recent.extend([event] if event.phase is not Phase.UPDATE else [])
                else:
                    lines.show(event)

        def picture(service: Service, header: str) -> RenderableType:
            rows = max(MIN_ROWS, err.height - len(recent) - 4)
            return with_recent(camera_table(service.cameras, header, rows), recent)

        screen = Screen(err, picture) if live else None
        reload = None if config_path is None else (load, stopper.reload_requested)
        done = serve(config, make_plan(config), stopper.event, show, screen, reload=reload)
        code[0] = OK if done else FAILED
    return code[0]


def reload(config_path: Path, journal: Path | None) -> int:
    """`swinstream reload`: check the file, then tell the process that runs with its journal."""
    err = Console(stderr=True)
    with guarded(err) as code:
        config = load_config(config_path).with_options(journal=journal)
        make_plan(config)
        process = running_process(config.journal.path)
        ask_to_reload(process)
        err.print(f"{config_path} is sound; process {process} was told to reload, and its log says what changed")
    return code[0]


def subscribe(
    address: str,
    camera: str | None,
    label: str | None,
    since: str | None,
    replay: str | None,
    key: Path | None,
    server: str | None,
    as_json: bool,
) -> int:
    """`swinstream subscribe`."""
    err = Console(stderr=True)
    set_up_logging(as_json=as_json)
    with Stopper() as stopper, guarded(err) as code:
        curve = client_curve(key, server) if key or server else None
        events = client.events(
            address,
            camera=camera,
            label=label,
            since=since,
            replay=replay or "auto",
            curve=curve,
            stop=stopper.event,
        )
        if not as_json and err.is_terminal:
            err.print(f"[dim]listening to {address}; Ctrl-C ends[/dim]")
        lines = EventLines(as_json=as_json)
        for event in events:
            lines.show(event)
    return code[0]


def client_curve(key: Path | None, server: str | None) -> ClientCurve:
    """Raises ConfigError where only one of the two is given, SecurityError for a key that is none."""
    if key is None or server is None:
        raise ConfigError(
            "--key and --server-key belong together: this client's secret key, the publisher's public key"
        )
    return ClientCurve(load_key_pair(key), load_public_key(server))


def export(out: Path, journal: Path | None, since: str | None, file_format: Format | None) -> int:
    """`swinstream export`."""
    err = Console(stderr=True)
    with guarded(err) as code:
        with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
            task = progress.add_task("events")

            def show(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            count = export_journal(out, journal, since=since, file_format=file_format, on_rows=show)
        err.print(f"{out}: {count:,} event messages", highlight=False, soft_wrap=True)
    return code[0]


def keys(folder: Path, name: str) -> int:
    """`swinstream keys`."""
    err = Console(stderr=True)
    with guarded(err) as code:
        public, secret = make_keys(folder, name)
        err.print(f"public key  {public}   (give it to the other side)\nsecret key  {secret}   (keep it here)")
    return code[0]
