"""Recognition: the one thread that turns windows into logits, in the order that the scheduler gives.

Flow (OpenCV) and the network (OpenVINO, TensorRT) release Python's lock, so the main thread goes on hearing
workers and serving subscribers meanwhile. The rules of a stream's state are kept here, beside the engine that
holds it: a new epoch begins with zeros; a skipped window leaves the state as it is; after four in a row, or after
a result that is not finite, it is zeroed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.runtime.base import Engine
from stream.capture import CapturePool
from stream.clip import ClipBuilder
from stream.frame import StreamKey, Window
from stream.messages import WindowReady
from stream.scheduler import Pending, Scheduler, SkipReason

FORGET_AFTER_SKIPS = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recognized:
    """A window's result. logits: float32 [S, K+1]; finite False: they mean nothing, and the state was zeroed."""

    ready: WindowReady
    window: Window
    logits: npt.NDArray[np.float32]
    finite: bool
    queue_ms: float
    infer_ms: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A window that was not computed."""

    ready: WindowReady
    reason: SkipReason


Result = Recognized | Skipped


@dataclass(slots=True)
class _Slot:
    """Where a stream's state is, and of which window it is the state after. number None: not opened yet."""

    engine: str
    number: int | None = None
    epoch: int = -1
    next_index: int = 0


class RecognitionError(Exception):
    """The engine broke while it served: nothing more will be recognized."""


class Recognition:
    """Owns the engines and their states. `offer` windows, watch `wakeup` become readable, `collect` results.

    makers: engines by name; a stream names the one it uses. An engine belongs to the thread that made it, so all
    that touches one happens in the recognition thread. Every window that is offered comes back from `collect`
    exactly once, unless its stream is removed before. Windows that were computed come in order; that one was
    skipped is told at once, perhaps before an older one that is being computed.
    """

    def __init__(self, capture: CapturePool, makers: Mapping[str, Callable[[], Engine]], max_batch: int = 16) -> None:
        self._capture = capture
        self._makers = dict(makers)
        self._engines: dict[str, Engine] = {}
        self._builders: dict[str, ClipBuilder] = {}
        self._scheduler: Scheduler[str] = Scheduler(max_batch)
        self._slots: dict[StreamKey, _Slot] = {}
        self._released: list[_Slot] = []  # of streams that are gone, for the thread to close
        self._wanted: dict[str, Callable[[], Engine]] | None = None  # engines to make, see prepare
        self._prepared: tuple[Exception | None] | None = None
        self._unwanted: set[str] = set()
        self._results: deque[Result] = deque()
        self._changed = threading.Condition()
        self._made = threading.Event()
        self._stopping = False
        self._failure: BaseException | None = None
        self.wakeup, self._signal = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self._signal, False)
        self._thread = threading.Thread(target=self._run, name="recognition", daemon=True)

    def start(self) -> Mapping[str, Engine]:
        """Make the engines and start. Returns them, to be asked what they are; raises what making one raised."""
        self._thread.start()
        self._made.wait()
        if self._failure is not None:
            raise self._failure
        return self._engines

    def prepare(self, makers: Mapping[str, Callable[[], Engine]]) -> None:
        """Make more engines, in the recognition thread; `prepared` tells when they are there."""
        with self._changed:
            self._wanted, self._prepared = dict(makers), None
            self._changed.notify()

    def prepared(self) -> bool:
        """Whether the engines of the last `prepare` are there. Raises what making one raised: then none was added."""
        with self._changed:
            if self._prepared is None:
                return False
            (error,) = self._prepared
            if error is not None:
                raise error
            return True

    def retain(self, engines: Collection[str]) -> None:
        """Close the engines that are not among these and that no stream uses."""
        with self._changed:
            self._unwanted = set(self._engines) - set(engines) - {slot.engine for slot in self._slots.values()}
            self._changed.notify()

    def add(self, stream: StreamKey, engine: str, *, lossless: bool) -> None:
        """A stream whose windows will come. lossless: it waits for us (a file), so none is skipped."""
        with self._changed:
            self._slots[stream] = _Slot(engine)
            self._scheduler.add(stream, engine, lossless=lossless)

    def remove(self, stream: StreamKey) -> None:
        """The stream is over; its windows that still wait are dropped. Its state is freed."""
        with self._changed:
            slot = self._slots.pop(stream, None)
            if slot is None:
                return
            for pending in self._scheduler.remove(stream):
                self._capture.skip(pending.ready)
            self._released.append(slot)
            self._changed.notify()

    def offer(self, ready: WindowReady) -> None:
        """A window lies in its ring."""
        now_ns = time.monotonic_ns()
        with self._changed:
            slot = self._slots.get(ready.stream)
            if slot is None:
                self._capture.skip(ready)
                return
            due_ns = now_ns + round(self._engines[slot.engine].spec.window_s * 1e9)
            for skipped in self._scheduler.offer(Pending(ready, due_ns, now_ns)):
                self._capture.skip(skipped.ready)
                self._results.append(Skipped(skipped.ready, SkipReason.BACKLOG))
            self._changed.notify()

    def collect(self) -> list[Result]:
        """What has been computed or skipped since the last call. Raises RecognitionError if the engine broke."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wakeup, 4096):
                pass
        with self._changed:
            results = list(self._results)
            self._results.clear()
            if self._failure is not None and not results:
                raise RecognitionError(f"the engine stopped working: {_one_line(self._failure)}") from self._failure
        return results

    def stop(self) -> None:
        """End the thread after the batch it is at; it closes the engines."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        for descriptor in (self.wakeup, self._signal):
            os.close(descriptor)

    def _run(self) -> None:
        try:
            for name, make in self._makers.items():
                self._engines[name] = make()
                self._builders[name] = ClipBuilder(self._engines[name].spec)
            self._made.set()
            while (batch := self._next()) is not None:
                if isinstance(batch, dict):
                    self._make(batch)
                    continue
                name, pending, slots = batch
                results = self._compute(name, pending, slots)
                with self._changed:
                    # Not those of a stream that was removed meanwhile, even if one of its name has come since.
                    kept = {p.ready.stream for p, slot in zip(pending, slots, strict=True) if self._is_current(p, slot)}
                    self._results += [result for result in results if result.ready.stream in kept]
                self._wake()
        except BaseException as error:  # noqa: BLE001  # the main thread raises it
            if self._made.is_set():
                _log.debug("the recognition thread broke", exc_info=True)
            self._failure = error
            self._made.set()
            self._wake()
        finally:
            for engine in self._engines.values():
                engine.close()

    def _make(self, makers: Mapping[str, Callable[[], Engine]]) -> None:
        """All of them or none."""
        made: dict[str, Engine] = {}
        error: Exception | None = None
        try:
            for name, make in makers.items():
                made[name] = make()
        except Exception as problem:  # noqa: BLE001  # whoever asks `prepared` raises it
            error = problem
            for engine in made.values():
                engine.close()
        with self._changed:
            if error is None:
                self._engines.update(made)
                self._builders.update({name: ClipBuilder(engine.spec) for name, engine in made.items()})
            self._prepared = (error,)
        self._wake()

    def _next(self) -> tuple[str, list[Pending], list[_Slot]] | dict[str, Callable[[], Engine]] | None:
        """Wait for the next batch, or for engines to make; None: stop."""
        with self._changed:
            while True:
                for slot in self._released:
                    if slot.number is not None:
                        self._engines[slot.engine].close_slot(slot.number)
                self._released.clear()
                for name in self._unwanted:
                    self._engines.pop(name).close()
                    del self._builders[name]
                self._unwanted.clear()
                if self._stopping:
                    return None
                if self._wanted is not None:
                    wanted, self._wanted = self._wanted, None
                    return wanted
                if (batch := self._scheduler.take()) is not None:
                    name, pending = batch
                    return name, pending, [self._slots[p.ready.stream] for p in pending]
                self._changed.wait()

    def _is_current(self, pending: Pending, slot: _Slot) -> bool:
        return self._slots.get(pending.ready.stream) is slot

    def _compute(self, name: str, batch: list[Pending], slots: list[_Slot]) -> list[Result]:
        """One call of the network for windows of different streams."""
        engine, started_ns = self._engines[name], time.monotonic_ns()
        results: list[Result] = []
        readies: list[WindowReady] = []
        windows: list[Window] = []
        numbers: list[int] = []
        queued_ms: list[float] = []
        for pending, slot in zip(batch, slots, strict=True):
            window = self._capture.window(pending.ready)
            if window is None:
                results.append(Skipped(pending.ready, SkipReason.OVERWRITTEN))
                continue
            if slot.number is None:
                slot.number = engine.open_slot()
            elif window.epoch != slot.epoch or window.index - slot.next_index >= FORGET_AFTER_SKIPS:
                engine.reset_slot(slot.number)
            slot.epoch, slot.next_index = window.epoch, window.index + 1
            readies.append(pending.ready)
            windows.append(window)
            numbers.append(slot.number)
            queued_ms.append((started_ns - pending.offered_ns) / 1e6)
        if not windows:
            return results
        clip = self._builders[name].build(windows)
        inference = engine.infer(numbers, clip.picture, clip.flow)
        infer_ms = (time.monotonic_ns() - started_ns) / 1e6
        for i, window in enumerate(windows):
            results.append(
                Recognized(readies[i], window, inference.logits[i], bool(inference.finite[i]), queued_ms[i], infer_ms)
            )
        return results

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full: whoever reads it is awake
            os.write(self._signal, b"!")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
