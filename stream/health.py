"""Health: whether the service lives and whether it is ready, in answers that any thread may ask for.

The thread that runs the service says that it turns; whoever asks judges by how long ago that was. Whether cameras
are live is no matter of health: a camera that is lost is tried again, and no restart brings it back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stream.snapshot import Snapshot

STUCK_S = 5.0
"""The main loop turns at least four times a second."""
ENGINE_STUCK_S = 60.0
"""A batch takes less than a second; so long without one while windows wait, and the engine hangs."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer: ok or not, and what there is to say."""

    ok: bool
    body: dict[str, Any]


class Health:
    """Pure but for `clock_s` (monotonic).

    Until `turn` is first called the service starts: it lives, and is not ready.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._turned_s: float | None = None
        self._snapshot: Snapshot | None = None
        self._batches: tuple[int, ...] = ()
        self._progress_s = clock_s()
        self._tried = False
        self._stopping = False

    def turn(self) -> None:
        """The main loop has turned."""
        self._turned_s = self._clock_s()

    def look(self, snapshot: Snapshot, busy: bool = False) -> None:
        """How the service is now. busy: the engines' thread does something else, as making another engine."""
        batches = tuple(stats.batches for stats in snapshot.engines.values())
        waiting = any(stats.queued for stats in snapshot.engines.values())
        if busy or not waiting or batches != self._batches:
            self._batches, self._progress_s = batches, self._clock_s()
        self._tried = self._tried or all(camera.tried for camera in snapshot.cameras)
        self._snapshot = snapshot

    def stopping(self) -> None:
        """The service ends."""
        self._stopping = True

    def alive(self) -> Verdict:
        """Whether the main loop turns and the engine computes what waits for it."""
        turned_s = self._turned_s
        if turned_s is None or self._stopping:
            return Verdict(True, {"alive": True, "why": "starting" if turned_s is None else "stopping"})
        now_s = self._clock_s()
        turned_s, engine_s = now_s - turned_s, now_s - self._progress_s
        why = []
        if turned_s > STUCK_S:
            why.append(f"the main loop has not turned for {turned_s:.0f} s")
        elif engine_s > ENGINE_STUCK_S:  # judged by the main loop, so only while that turns
            why.append(f"windows wait, and the engine has computed none for {engine_s:.0f} s")
        return Verdict(not why, {"alive": not why, "why": "; ".join(why) or None})

    def ready(self) -> Verdict:
        """Whether engines are made, sockets are open and every camera has once been tried; how each camera is."""
        snapshot = self._snapshot
        cameras = {} if snapshot is None else {camera.name: camera for camera in snapshot.cameras}
        why = None
        if self._stopping:
            why = "stopping"
        elif snapshot is None:
            why = "engines are being made and sockets opened"
        elif not self._tried:
            why = f"not tried yet: {', '.join(name for name, camera in cameras.items() if not camera.tried)}"
        elif not (alive := self.alive()).ok:
            why = alive.body["why"]
        told = {
            name: {"state": camera.state, "error": camera.error, "why": camera.text or None}
            for name, camera in cameras.items()
        }
        return Verdict(why is None, {"ready": why is None, "why": why, "cameras": told})
