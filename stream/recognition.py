"""Recognition: the one thread that turns windows into logits, in the order that the scheduler gives.

Flow (OpenCV, or CUDA on the engine's own stream: stream.placement) and the network (OpenVINO, TensorRT) release
Python's lock, so the main thread goes on hearing workers and serving subscribers meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping

from engine.runtime.base import Engine, EngineKind
from stream.capture import CapturePool
from stream.frame import StreamKey
from stream.messages import WindowReady
from stream.result import EngineStats, Recognized, Result, Skipped
from stream.runner import Runner, Slot
from stream.scheduler import Batch, BatchRule, Pending, Scheduler

LINGER_MS: dict[EngineKind, float] = {"tensorrt": 4.0}
"""How long a batch waits to fill. A CPU computes windows one by one: there it would only be late."""
FILE_PATIENCE = 4
"""A file's windows are due after so many windows' time, as nobody waits for them: cameras go first."""

_log = logging.getLogger(__name__)


class RecognitionError(Exception):
    """The engine broke while it served: nothing more will be recognized."""


class Recognition:
    """Owns the engines and their states. `offer` windows, watch `wakeup` become readable, `collect` results.

    makers: engines by name; a stream names the one it uses. An engine belongs to the thread that made it, so all
    that touches one happens in the recognition thread. Every window that is offered comes back from `collect`
    exactly once, unless its stream is removed before. Windows that were computed come in order; that one was
    skipped is told at once, perhaps before an older one that is being computed. max_batch: windows in one call of an
    engine; None: what the engine says is best.
    """

    def __init__(
        self, capture: CapturePool, makers: Mapping[str, Callable[[], Engine]], max_batch: int | None = None
    ) -> None:
        self._capture = capture
        self._makers = dict(makers)
        self._runners: dict[str, Runner] = {}
        self._max_batch = max_batch
        self._scheduler: Scheduler[str] = Scheduler()
        self._slots: dict[StreamKey, Slot] = {}
        self._released: list[Slot] = []  # of streams that are gone, for the thread to close
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

    def start(self) -> Mapping[str, Runner]:
        """Make the engines and start. Returns their runners, to be asked for `info`; raises what making one raised."""
        self._thread.start()
        self._made.wait()
        if self._failure is not None:
            raise self._failure
        return dict(self._runners)

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
            self._unwanted = set(self._runners) - set(engines) - {slot.engine for slot in self._slots.values()}
            self._changed.notify()

    def add(self, stream: StreamKey, engine: str, *, lossless: bool) -> None:
        """A stream whose windows will come. lossless: it waits for us (a file), so none is skipped."""
        with self._changed:
            self._slots[stream] = Slot(engine, lossless)
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

    def offer(self, ready: WindowReady, *, active: bool = True, idle_before: int = 0, woken: bool = False) -> None:
        """A window lies in its ring.

        active: its zone has an event open or beginning. idle_before: windows of its epoch before it that were left out
        as idle. woken: see Recognized.
        """
        now_ns = time.monotonic_ns()
        with self._changed:
            slot = self._slots.get(ready.stream)
            if slot is None:
                self._capture.skip(ready)
                return
            patience = FILE_PATIENCE if slot.lossless else 1
            due_ns = now_ns + round(patience * self._runners[slot.engine].engine.spec.window_s * 1e9)
            for skip in self._scheduler.offer(Pending(ready, due_ns, now_ns, active, idle_before, woken)):
                self._capture.skip(skip.window.ready)
                self._results.append(Skipped(skip.window.ready, skip.reason))
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

    def engine_stats(self) -> dict[str, EngineStats]:
        """By the engine's name. Any thread may ask."""
        with self._changed:
            return {name: runner.stats(self._scheduler.queued(name)) for name, runner in self._runners.items()}

    @property
    def interval(self) -> int:
        """Every how many windows an idle zone is computed now: 1 unless more falls due than can be computed."""
        with self._changed:
            return self._scheduler.interval

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
                self._add_runner(name, self._runner(make))
            self._made.set()
            while (batch := self._next()) is not None:
                if isinstance(batch, dict):
                    self._make(batch)
                    continue
                name, pending, slots = batch
                results = self._runners[name].compute(pending, slots)
                with self._changed:
                    if computed := [result for result in results if isinstance(result, Recognized)]:
                        self._scheduler.computed(name, len(computed), round(computed[0].infer_ms * 1e6))
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
            for runner in self._runners.values():
                runner.close()

    def _runner(self, make: Callable[[], Engine]) -> Runner:
        engine = make()
        try:
            return Runner(engine, self._capture.window)
        except BaseException:
            engine.close()
            raise

    def _add_runner(self, name: str, runner: Runner) -> None:
        self._runners[name] = runner
        info = runner.engine.info
        linger_ns = round(LINGER_MS.get(info.kind, 0.0) * 1e6)
        self._scheduler.add_model(name, BatchRule(self._max_batch or info.batch, linger_ns))

    def _make(self, makers: Mapping[str, Callable[[], Engine]]) -> None:
        """All of them or none."""
        made: dict[str, Runner] = {}
        error: Exception | None = None
        try:
            for name, make in makers.items():
                made[name] = self._runner(make)
        except Exception as problem:  # noqa: BLE001  # whoever asks `prepared` raises it
            error = problem
            for runner in made.values():
                runner.close()
        with self._changed:
            if error is None:
                for name, runner in made.items():
                    self._add_runner(name, runner)
            self._prepared = (error,)
        self._wake()

    def _next(self) -> tuple[str, list[Pending], list[Slot]] | dict[str, Callable[[], Engine]] | None:
        """Wait for the next batch, or for engines to make; None: stop."""
        with self._changed:
            while True:
                for slot in self._released:
                    self._runners[slot.engine].free(slot)
                self._released.clear()
                for name in self._unwanted:
                    self._runners.pop(name).close()
                    self._scheduler.remove_model(name)
                self._unwanted.clear()
                if self._stopping:
                    return None
                if self._wanted is not None:
                    wanted, self._wanted = self._wanted, None
                    return wanted
                now_ns = time.monotonic_ns()
                batch = self._scheduler.take(now_ns)
                if isinstance(batch, Batch):
                    return batch.model, batch.windows, [self._slots[p.ready.stream] for p in batch.windows]
                self._changed.wait(None if batch is None else (batch - now_ns) / 1e9)

    def _is_current(self, pending: Pending, slot: Slot) -> bool:
        return self._slots.get(pending.ready.stream) is slot

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full: whoever reads it is awake
            os.write(self._signal, b"!")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
