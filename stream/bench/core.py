"""The measured service, in a process of its own: everything that `swinstream run` is, and a Probe.

Started by stream.bench.session as `python -m stream.bench.core SETTINGS`, with `cameras` (addresses by name), `model`,
`idle_gating` and `folder`. Writes a greeting {"events", "replay", "engines"}, then the probe's lines, and ends in order
when its standard input closes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream.bench.probe import Probe
from stream.commands import FAILURES, USAGE_ERRORS
from stream.config import Config
from stream.demo.rtsp import tell
from stream.plan import make_plan
from stream.publish import Publisher
from stream.serve import serve
from stream.stopper import Stopper

_FREE = "tcp://127.0.0.1:0"


def run(settings: dict[str, Any], stop: threading.Event) -> None:
    """Serve until `stop`. Raises what `serve` raises."""
    probe = Probe()
    config = Config.from_cameras([f"{name}={url}" for name, url in settings["cameras"].items()]).with_options(
        model=settings["model"], publish=_FREE, replay=_FREE, journal=Path(settings["folder"]) / "events.sqlite3"
    )
    config = config.model_copy(update={"idle_gating": settings["idle_gating"]})
    plan = make_plan(config)
    plan = replace(plan, engines={name: probe.metered(make) for name, make in plan.engines.items()})

    def greet(publisher: Publisher) -> None:
        tell({"events": publisher.address, "replay": publisher.replay, "engines": probe.engines()})

    serve(
        config,
        plan,
        stop,
        lambda events: None,
        on_ready=greet,
        on_window=probe.on_window,
        on_skip=probe.on_skip,
        on_turn=probe.on_turn,
    )


def main() -> int:
    logging.basicConfig(level=logging.ERROR)
    with Stopper() as stopper:

        def wait_for_parent() -> None:
            while os.read(sys.stdin.fileno(), 4096):
                pass
            stopper.request()

        threading.Thread(target=wait_for_parent, daemon=True, name="bench-parent").start()
        try:
            run(json.loads(sys.argv[1]), stopper.event)
        except (*USAGE_ERRORS, *FAILURES) as error:
            tell({"error": str(error)})
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
