"""CapturePool: the core's side of capture. It starts the workers, hears them, reads their rings, replaces the dead.

    with CapturePool() as capture:
        capture.start([CameraTask("front-door", CameraUri.parse("rtsp://..."), (zone_task("full", spec),))])
        while True:
            select.select(capture.connections(), [], [], 0.5)
            for message in capture.receive():
                if isinstance(message, WindowReady):
                    window = capture.window(message)

Nothing here waits, except `stop`, and for a worker that does not take its commands (2 s at most). All methods belong
to one thread, except `window` and `skip`, which any thread may call. Pictures lie in memory without a name (see
`stream.ring`) and workers notice when the core is gone, so nothing outlives the core but for a second, even after
kill -9.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from engine.spec import ModelSpec
from stream.channel import ChannelClosed
from stream.failure import ErrorClass
from stream.frame import PlaneArray, StreamKey, Window
from stream.messages import (
    AddCameras,
    CameraFinished,
    CameraStatus,
    CameraTask,
    Command,
    EpochEnd,
    EpochEnded,
    Message,
    RemoveCamera,
    RingPlace,
    SetBudget,
    StopWorker,
    WindowReady,
    WorkerAlive,
    WorkerLog,
    WorkerLost,
    ZoneTask,
)
from stream.process import Reaper, WorkerProcess
from stream.reconnect import budget_shares, usual_budget
from stream.ring import RingReader, RingShape, SharedBlock
from stream.shard import Shard, WorkerInfo
from stream.zone import FULL, Zone

RING_WINDOWS = 4
"""Windows that a ring holds: the core may be this much late before a live camera's pictures are overwritten."""
_SEND_S = 2.0
_BATCH = 64  # cameras in one AddCameras message, and one shared block


def zone_task(name: str, spec: ModelSpec, zone: Zone = FULL) -> ZoneTask:
    """A recognition stream: this part of the picture, seen by this model."""
    return ZoneTask(name, spec.ticks, spec.rate_hz, spec.height, spec.width, spec.picture_ticks, zone)


class CapturePool:
    """Cameras spread over worker processes.

    workers: how many processes at most; None: one for two processors. There are never more than cameras, nor than
    connects a second.
    connects_per_s: the budget over all cameras; None: by their number, see `stream.reconnect`.
    """

    def __init__(self, workers: int | None = None, connects_per_s: int | None = None) -> None:
        self._connects_per_s = connects_per_s
        self._limit = workers if workers is not None else max(1, (os.cpu_count() or 1) // 2)
        self._shards: list[Shard] = []
        self._reaper = Reaper()
        self._readers: dict[tuple[int, StreamKey], tuple[RingReader, int]] = {}  # and ticks of a window
        self._open: dict[StreamKey, int] = {}  # epochs of which something was told
        self._epochs: Counter[str] = Counter()  # per camera, the first epoch number not yet used
        self._block_numbers = itertools.count()
        self._told: list[Message] = []  # for the next `receive`

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # ---- cameras

    def start(self, cameras: Sequence[CameraTask]) -> None:
        """Begin to capture. Raises ValueError for a name that is taken."""
        names = [task.name for task in cameras]
        if taken := {name for name, n in Counter(names).items() if n > 1} | (set(names) & self.cameras()):
            raise ValueError(f"two cameras are named {', '.join(sorted(taken))}")
        count = len(self.cameras()) + len(cameras)
        while len(self._shards) < min(self._limit, count, self._budget(count)):
            self._shards.append(Shard())
        for task in cameras:
            self._emptiest().waiting.append(task)
        self._launch()

    def remove(self, camera: str, reason: EpochEnd = "removed") -> None:
        """Stop capturing; `EpochEnded` and `CameraFinished` follow. Does nothing for an unknown camera."""
        for shard in self._shards:
            if any(task.name == camera for task in shard.waiting):
                shard.waiting = [task for task in shard.waiting if task.name != camera]
                self._told.append(CameraFinished(camera, "removed"))
            if shard.worker is not None and camera in shard.worker.tasks:
                del shard.worker.tasks[camera]
                shard.worker.leaving[camera] = reason
                self._send(shard.worker, RemoveCamera(camera, reason))
                self._epochs[camera] += 1  # one more may be on its way

    def forget(self, camera: str) -> None:
        """Free the pictures of a camera that has finished: none of its windows will be fetched any more."""
        self._readers = {key: reader for key, reader in self._readers.items() if key[1].camera != camera}
        self._epochs.pop(camera, None)
        used = {block for block, _ in self._readers}
        for shard in self._shards:
            if shard.worker is not None:
                shard.worker.blocks &= used

    def cameras(self) -> set[str]:
        """The cameras being captured, or waiting for a worker."""
        return {name for shard in self._shards for name in shard.names}

    def workers(self) -> list[WorkerInfo]:
        """One entry for each worker's place, always in the same order."""
        return [shard.info for shard in self._shards]

    # ---- messages

    def connections(self) -> list[int]:
        """File descriptors that become readable when there is something to `receive`. They change over time."""
        return [shard.worker.channel.fileno() for shard in self._shards if shard.worker is not None]

    def receive(self) -> list[Message]:
        """What has happened since the last call. To be called at least once a second."""
        messages, self._told = self._told, []
        now_s = time.monotonic()
        for shard in self._shards:
            worker = shard.worker
            if worker is None:
                continue
            try:
                heard: list[Message] = worker.channel.receive()
            except ChannelClosed:
                messages += self._lost(shard, worker, now_s, "")
                continue
            for message in heard:
                self._note(worker, message)
            messages += [message for message in heard if not isinstance(message, WorkerLog)]
            if why := worker.pulse.stuck(now_s):
                messages += self._lost(shard, worker, now_s, why)
        self._reaper.turn(now_s)
        self._launch()
        return messages

    def window(self, ready: WindowReady, out: PlaneArray | None = None) -> Window | None:
        """A copy of the window, or None if it has been overwritten or its worker is gone.

        out: uint8 [T, H*3//2, W] to copy the pictures into; None: a new array.
        """
        found = self._readers.get((ready.block, ready.stream))
        if found is None:
            return None
        reader, ticks = found
        read = reader.read(ready.position, ticks, out)
        reader.release(ready.position + ticks)
        if read is None:
            return None
        return Window(
            stream=ready.stream,
            epoch=ready.epoch,
            index=ready.index,
            pictures=read.pictures,
            pts_ns=read.pts_ns,
            arrival_ns=read.last.arrival_ns,
            utc_offset_ns=read.last.utc_offset_ns,
            clock=read.last.clock,
        )

    def skip(self, ready: WindowReady) -> None:
        """This window will not be fetched: a file's reader may go on."""
        found = self._readers.get((ready.block, ready.stream))
        if found is not None:
            reader, ticks = found
            reader.release(ready.position + ticks)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End every worker, by force after the time. Messages not received are lost. May be called again."""
        workers = [shard.worker for shard in self._shards if shard.worker is not None]
        self._shards.clear()
        deadline_s = time.monotonic() + timeout_s
        for worker in workers:
            if worker.pulse.starting and not worker.channel.wait(0.0):
                worker.process.kill()  # it has opened nothing yet, and may be seconds away from hearing
            else:
                self._send(worker, StopWorker())
        for worker in workers:
            while time.monotonic() < deadline_s and worker.channel.wait(deadline_s - time.monotonic()):
                try:
                    worker.channel.receive()  # so that no worker waits to be heard
                except ChannelClosed:
                    break
            worker.end(max(0.2, deadline_s - time.monotonic()))
        self._reaper.close(1.0)
        self._readers.clear()

    # ---- inside

    def _budget(self, cameras: int) -> int:
        """Connects a second over all. There are never more workers, so that each has its share."""
        return self._connects_per_s or usual_budget(cameras)

    def _emptiest(self) -> Shard:
        return min(self._shards, key=lambda shard: len(shard.names))

    def _launch(self) -> None:
        """Hand waiting cameras to their workers, starting those that are due."""
        now_s = time.monotonic()
        counts = [len(shard.names) for shard in self._shards]
        shares = budget_shares(self._budget(sum(counts)), counts)
        for shard, share in zip(self._shards, shares, strict=True):
            if shard.worker is not None and share != shard.worker.connects_per_s:
                self._set_budget(shard.worker, share)
            if not shard.waiting or (shard.worker is None and now_s < shard.due_s):
                continue
            if shard.worker is None:
                shard.worker = WorkerProcess(now_s)
                self._set_budget(shard.worker, share)
            tasks, shard.waiting = shard.waiting, []
            shard.worker.tasks.update({task.name: task for task in tasks})
            for first in range(0, len(tasks), _BATCH):
                self._hand_over(shard.worker, tasks[first : first + _BATCH])

    def _set_budget(self, worker: WorkerProcess, connects_per_s: int) -> None:
        worker.connects_per_s = connects_per_s
        self._send(worker, SetBudget(connects_per_s))

    def _hand_over(self, worker: WorkerProcess, tasks: list[CameraTask]) -> None:
        rings: list[tuple[RingPlace, ...]] = []
        shapes: list[tuple[StreamKey, int, RingShape, int]] = []
        size = 0
        for task in tasks:
            places = []
            for zone in task.zones:
                shape = RingShape.for_windows(RING_WINDOWS, zone.ticks, zone.height, zone.width)
                places.append(RingPlace(size, shape.capacity))
                shapes.append((StreamKey(task.name, zone.name), size, shape, zone.ticks))
                size += shape.nbytes
            rings.append(tuple(places))
        memory, block = SharedBlock.create(size), next(self._block_numbers)
        worker.blocks.add(block)
        self._readers.update(
            {(block, stream): (RingReader(memory, offset, shape), ticks) for stream, offset, shape, ticks in shapes}
        )
        epochs = tuple(self._epochs[task.name] for task in tasks)
        self._send(worker, AddCameras(block, size, tuple(tasks), tuple(rings), epochs), memory.descriptor)
        memory.close_descriptor()

    def _send(self, worker: WorkerProcess, command: Command, descriptor: int | None = None) -> None:
        try:
            worker.channel.send(command, descriptor, _SEND_S)
        except ChannelClosed:
            pass  # the next receive finds out
        except TimeoutError:
            worker.process.kill()

    def _note(self, worker: WorkerProcess, message: Message) -> None:
        """What the pool itself must know of a worker's message."""
        match message:
            case WindowReady(stream=stream, epoch=epoch):
                self._open[stream] = epoch
                self._epochs[stream.camera] = max(self._epochs[stream.camera], epoch + 1)
            case EpochEnded(stream=stream, epoch=epoch):
                self._open.pop(stream, None)
                self._epochs[stream.camera] = max(self._epochs[stream.camera], epoch + 1)
            case CameraFinished(camera=name):
                # One that was told to end may have ended by itself a moment before.
                if worker.leaving.pop(name, None) is None:
                    worker.tasks.pop(name, None)
            case WorkerAlive(cpu_s=cpu_s):
                worker.cpu_s = cpu_s
            case WorkerLog(level=level, logger=logger, text=text):
                logging.getLogger(logger).log(level, "%s", text)

    def _lost(self, shard: Shard, worker: WorkerProcess, now_s: float, why: str) -> list[Message]:
        """A worker is gone or stuck: end its epochs, plan its replacement."""
        if not why:
            code = worker.exit_code()
            why = "it closed its connection" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
            self._reaper.take(worker, now_s, stuck=False)
        else:
            self._reaper.take(worker, now_s, stuck=True)
        text = f"capture process {worker.process.pid} died ({why})"
        wait_s = shard.bury(worker, now_s)
        self._readers = {key: reader for key, reader in self._readers.items() if key[0] not in worker.blocks}

        tasks = list(worker.tasks.values())
        ended: list[Message] = []
        for task in tasks:
            for zone in task.zones:
                stream = StreamKey(task.name, zone.name)
                if (epoch := self._open.pop(stream, None)) is not None:
                    ended.append(EpochEnded(stream, epoch, "worker_lost", None))
        for name, reason in worker.leaving.items():
            for stream in [stream for stream in self._open if stream.camera == name]:
                ended.append(EpochEnded(stream, self._open.pop(stream), reason, None))
            ended.append(CameraFinished(name, "removed"))
        messages: list[Message] = [*ended, WorkerLost(tuple(task.name for task in tasks), text, wait_s)]
        for task in tasks:
            if task.uri.live:
                shard.waiting.append(task)
                messages.append(CameraStatus(task.name, "lost", ErrorClass.PROTOCOL, text, wait_s))
            else:  # from its beginning again, it would tell every event twice
                messages.append(CameraStatus(task.name, "failed", ErrorClass.PROTOCOL, text))
                messages.append(CameraFinished(task.name, "failed", text))
        return messages
