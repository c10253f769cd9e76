"""The streaming commands: run, subscribe, keys. Each returns an exit code: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, RenderableType

from engine.bundle import BundleError
from engine.parity import ParityError
from engine.runtime.base import EngineError
from stream import subscribe as client
from stream.config import Config
from stream.config_file import load_config
from stream.config_problem import ConfigError
from stream.demo.camera import DemoCameraError
from stream.events import Phase
from stream.journal import JournalError
from stream.live import Screen
from stream.logs import set_up_logging
from stream.plan import make_plan
from stream.publish import PublishError
from stream.screen import camera_table, event_text, with_recent
from stream.security import ClientCurve, SecurityError, load_key_pair, load_public_key, make_keys
from stream.serve import serve
from stream.service import Service
from stream.thresholds import ThresholdsError
from stream.wire import EventMessage

OK, FAILED, USAGE = 0, 1, 2

USAGE_ERRORS = (ConfigError, BundleError, ThresholdsError, SecurityError, client.SubscribeError)
FAILURES = (PublishError, JournalError, EngineError, ParityError, DemoCameraError)


@contextlib.contextmanager
def guarded(console: Console) -> Iterator[list[int]]:
    """Turns our errors into clear lines and an exit code, which is the list's only entry afterwards."""
    code = [OK]
    try:
        yield code
    except USAGE_ERRORS as error:
        code[0] = _say(console, error, USAGE)
    except FAILURES as error:
        code[0] = _say(console, error, FAILED)
    except KeyboardInterrupt:
        code[0] = OK


def _say(console: Console, error: Exception, code: int) -> int:
    for line in str(error).splitlines():
        console.print(f"swinstream: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    return code


def run(config_path: Path | None, cameras: Sequence[str], options: dict[str, str | None], as_json: bool) -> int:
    """`swinstream run`."""
    err = Console(stderr=True)
    set_up_logging(as_json=as_json)
    with guarded(err) as code:
        if (config_path is None) == (not cameras):
            raise ConfigError("give a configuration file or --camera NAME=URI; see `swinstream run --help`")
        base = load_config(config_path) if config_path is not None else Config.from_cameras(cameras)
        config = base.with_options(**options)
        out = Console(highlight=False, soft_wrap=True)
        recent: deque[EventMessage] = deque(maxlen=10)
        live = err.is_terminal and not as_json

        def show(messages: Sequence[EventMessage]) -> None:
            recent.extend(m for m in messages if m.phase is not Phase.UPDATE)
            for message in messages:
                if as_json:
                    sys.stdout.write(message.json_text() + "\n")
                elif message.phase is not Phase.UPDATE and not (live and out.is_terminal):
                    out.print(event_text(message))
            sys.stdout.flush()

        def picture(service: Service, header: str) -> RenderableType:
            return with_recent(camera_table(service.cameras, header), recent if out.is_terminal else ())

        done = serve(config, make_plan(config), show, Screen(err, picture) if live else None)
        code[0] = OK if done else FAILED
    return code[0]


def subscribe(
    address: str,
    camera: str | None,
    label: str | None,
    since: str | None,
    key: Path | None,
    server: str | None,
    as_json: bool,
) -> int:
    """`swinstream subscribe`."""
    err = Console(stderr=True)
    set_up_logging(as_json=as_json)
    out = Console(highlight=False, soft_wrap=True)
    stop = threading.Event()
    with guarded(err) as code:
        curve = client_curve(key, server) if key or server else None
        events = client.events(address, camera=camera, label=label, since=since, curve=curve, stop=stop)
        if not as_json and err.is_terminal:
            err.print(f"[dim]listening to {address}; Ctrl-C ends[/dim]")
        for event in events:
            if as_json:
                sys.stdout.write(event.json_text() + "\n")
                sys.stdout.flush()
            elif event.phase is not Phase.UPDATE:
                out.print(event_text(event))
    return code[0]


def client_curve(key: Path | None, server: str | None) -> ClientCurve:
    """Raises ConfigError where only one of the two is given, SecurityError for a key that is none."""
    if key is None or server is None:
        raise ConfigError(
            "--key and --server-key belong together: this client's secret key, the publisher's public key"
        )
    return ClientCurve(load_key_pair(key), load_public_key(server))


def keys(folder: Path, name: str) -> int:
    """`swinstream keys`."""
    err = Console(stderr=True)
    with guarded(err) as code:
        public, secret = make_keys(folder, name)
        err.print(f"public key  {public}   (give it to the other side)\nsecret key  {secret}   (keep it here)")
    return code[0]
