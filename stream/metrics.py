"""Metrics: what Prometheus may know of a running service, in its text format. docs/operations.md lists them all.

Counts that the service keeps anyway are read from its snapshot when somebody asks; only latencies and events are
observed as they happen. So a metric costs nothing until it is scraped, and a camera that is gone takes its series
along. Labels are names from the configuration, labels of models, words from fixed lists, and why an engine was not the
first choice: no address, no secret.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from stream.events import Phase
from stream.frame import ClockSource
from stream.result import Recognized
from stream.scheduler import SkipReason
from stream.snapshot import STATES, CameraSnapshot, Snapshot
from stream.wire import EventMessage, utc_ns

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# Half a second from a window's last frame to its decision is what the project promises, so the buckets are close there.
STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2.5, 5, 10)
START_BUCKETS_S = (0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 10)
BATCH_BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 64)

TEXT_LASTS_S = 1.0


class Metrics:
    """Observe in the thread that runs the service; `text` may be asked for by any."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody reads
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._stage = Histogram(
            "swinstream_stage_seconds",
            "Time of a window: waiting for the engine (queue), in flow and network (infer), and from the arrival of "
            "its last frame to its decision, published (decision; woken: of one held back until something moved)",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self._start_delay = Histogram(
            "swinstream_event_start_delay_seconds",
            "From the start of an action, by the named clock, to the publication of its event",
            ["clock"],
            buckets=START_BUCKETS_S,
            registry=registry,
        )
        self._events = Counter(
            "swinstream_events", "Events published, by label and phase", ["label", "phase"], registry=registry
        )
        for stage in ("queue", "infer", "decision", "woken"):
            self._stage.labels(stage)
        for clock in ClockSource:
            self._start_delay.labels(clock.value)
        self._snapshot: tuple[Snapshot, float] | None = None  # and when it was taken
        registry.register(_Readings(self))
        self._lock = threading.Lock()
        self._text, self._text_s = b"", -TEXT_LASTS_S

    # ---- the service's thread

    def window(self, recognized: Recognized, latency_s: float) -> None:
        """A window was computed and its events were published. latency_s: since its last frame arrived."""
        self._stage.labels("queue").observe(recognized.queue_ms / 1e3)
        self._stage.labels("infer").observe(recognized.infer_ms / 1e3)
        self._stage.labels("woken" if recognized.woken else "decision").observe(latency_s)

    def events(self, events: Sequence[EventMessage]) -> None:
        """Events were published just now."""
        for event in events:
            self._events.labels(event.label, event.phase.value).inc()
            if event.phase is Phase.START:
                self._start_delay.labels(event.clock).observe((time.time_ns() - utc_ns(event.start)) / 1e9)

    def look(self, snapshot: Snapshot) -> None:
        """How the service is now."""
        self._snapshot = snapshot, time.monotonic()

    # ---- any thread

    @property
    def snapshot(self) -> tuple[Snapshot, float] | None:
        """The last one and its age in seconds; None until there is one."""
        taken = self._snapshot
        return None if taken is None else (taken[0], time.monotonic() - taken[1])

    def text(self) -> bytes:
        """All metrics. However often it is asked for, it is made once a second at most."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._text_s >= TEXT_LASTS_S:
                self._text, self._text_s = generate_latest(self._registry), now_s
            return self._text


class _Readings:
    """What is read when somebody asks (a collector of prometheus_client)."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("swinstream", "Version of the program", {"version": version("swinstream")})
        yield GaugeMetricFamily("swinstream_threads", "Threads of the core process", psutil.Process().num_threads())
        taken = self._metrics.snapshot
        if taken is not None:
            snapshot, age_s = taken
            yield GaugeMetricFamily(
                "swinstream_snapshot_age_seconds",
                "Since the main loop last told how things are; it does so every second, unless it hangs",
                age_s,
            )
            yield from _cameras(snapshot.cameras)
            yield from _zones(snapshot.cameras)
            yield from _engines(snapshot)
            yield from _workers(snapshot)
            yield from _journal(snapshot)


def _cameras(cameras: Iterable[CameraSnapshot]) -> list[Metric]:
    state = GaugeMetricFamily(
        "swinstream_camera_state", "1 for the state that the camera is in, 0 for the others", labels=["camera", "state"]
    )
    error = GaugeMetricFamily(
        "swinstream_camera_error", "1 for the class of error that keeps it from being live", labels=["camera", "error"]
    )
    clock = GaugeMetricFamily(
        "swinstream_camera_clock", "1 for the clock that its times come from", labels=["camera", "clock"]
    )
    fps = GaugeMetricFamily(
        "swinstream_camera_fps", "Frames a second that came, over the last second", labels=["camera"]
    )
    jitter = GaugeMetricFamily(
        "swinstream_camera_jitter_seconds",
        "Mean deviation of frames' arrival from their own times, over the last second",
        labels=["camera"],
    )
    decoded = CounterMetricFamily("swinstream_camera_frames_decoded", "Frames decoded", labels=["camera"])
    sampled = CounterMetricFamily(
        "swinstream_camera_frames_sampled", "Frames that became ticks, over all zones", labels=["camera"]
    )
    repeated = CounterMetricFamily(
        "swinstream_camera_ticks_repeated", "Ticks without a frame of their own, over all zones", labels=["camera"]
    )
    dropped = CounterMetricFamily(
        "swinstream_camera_frames_dropped",
        "Frames that became no tick, over all zones; not_sampled and phase are no fault",
        labels=["camera", "reason"],
    )
    reconnects = CounterMetricFamily(
        "swinstream_camera_reconnects", "Connections that gave frames, after the first", labels=["camera"]
    )
    for camera in cameras:
        name, counters = camera.name, camera.counters
        for known in STATES:
            state.add_metric([name, known], known == camera.state)
        if camera.error is not None:
            error.add_metric([name, camera.error], 1)
        if counters is None:
            continue
        for source in ClockSource:
            clock.add_metric([name, source.value], source.value == counters.clock)
        fps.add_metric([name], counters.fps)
        jitter.add_metric([name], counters.jitter_ms / 1e3)
        decoded.add_metric([name], counters.decoded)
        sampled.add_metric([name], counters.sampled)
        repeated.add_metric([name], counters.repeated)
        reconnects.add_metric([name], counters.reconnects)
        for reason, count in counters.dropped.items():
            dropped.add_metric([name, reason], count)
    return [state, error, clock, fps, jitter, decoded, sampled, repeated, dropped, reconnects]


def _zones(cameras: Iterable[CameraSnapshot]) -> list[Metric]:
    labels = ["camera", "zone"]
    computed = CounterMetricFamily("swinstream_windows_computed", "Windows that the network saw", labels=labels)
    skipped = CounterMetricFamily(
        "swinstream_windows_skipped",
        "Windows that the network did not see: nothing moved (idle), there was too much to do (stretched, backlog), "
        "they came faster than time goes (flood), or their pictures were gone (overwritten)",
        labels=[*labels, "reason"],
    )
    open_events = GaugeMetricFamily("swinstream_open_events", "Events that have started and not ended", labels=labels)
    decision = GaugeMetricFamily(
        "swinstream_last_decision_seconds",
        "Of the last window: from the arrival of its last frame to its decision",
        labels=labels,
    )
    for camera in cameras:
        for zone in camera.zones:
            where = [camera.name, zone.name]
            computed.add_metric(where, zone.windows)
            open_events.add_metric(where, zone.open_events)
            if zone.latency_s is not None:
                decision.add_metric(where, zone.latency_s)
            for reason in SkipReason:
                skipped.add_metric([*where, reason.value], zone.skipped.get(reason.value, 0))
    return [computed, skipped, open_events, decision]


def _engines(snapshot: Snapshot) -> list[Metric]:
    interval = GaugeMetricFamily(
        "swinstream_idle_interval",
        "Every how many windows a zone without an event is computed: 1 unless there is too much to do",
        snapshot.interval,
    )
    info = InfoMetricFamily(
        "swinstream_engine",
        "What runs the model's network; reason: why it is not the first choice, if it is not",
        labels=["model"],
    )
    windows = CounterMetricFamily("swinstream_engine_windows", "Windows computed", labels=["model"])
    busy = CounterMetricFamily("swinstream_engine_busy_seconds", "Time spent in flow and network", labels=["model"])
    queued = GaugeMetricFamily("swinstream_engine_queued_windows", "Windows that wait", labels=["model"])
    states = GaugeMetricFamily("swinstream_engine_states", "States of streams that it holds", labels=["model"])
    batch = HistogramMetricFamily("swinstream_engine_batch_windows", "Windows in a batch", labels=["model"])
    for model, stats in snapshot.engines.items():
        engine = stats.info
        told = {"kind": engine.kind, "precision": engine.precision, "device": engine.device, "reason": engine.reason}
        info.add_metric([model], told)
        windows.add_metric([model], stats.windows)
        busy.add_metric([model], stats.busy_s)
        queued.add_metric([model], stats.queued)
        states.add_metric([model], stats.states)
        batch.add_metric([model], _cumulative(stats.batch_sizes), stats.windows)
    return [info, windows, busy, queued, states, batch, interval]


def _cumulative(sizes: Mapping[int, int]) -> list[tuple[str, float]]:
    """How many batches had at most so many windows, as Prometheus wants it."""
    counts = [(str(limit), sum(n for size, n in sizes.items() if size <= limit)) for limit in BATCH_BUCKETS]
    return [*counts, ("+Inf", sum(sizes.values()))]


def _workers(snapshot: Snapshot) -> list[Metric]:
    labels = ["worker"]
    restarts = CounterMetricFamily("swinstream_worker_restarts", "Capture processes replaced", labels=labels)
    cpu = CounterMetricFamily("swinstream_worker_cpu_seconds", "Processor time of a capture process", labels=labels)
    cameras = GaugeMetricFamily("swinstream_worker_cameras", "Cameras of a capture process", labels=labels)
    memory = GaugeMetricFamily(
        "swinstream_worker_resident_memory_bytes", "Resident memory of a capture process", labels=labels
    )
    threads = GaugeMetricFamily("swinstream_worker_threads", "Threads of a capture process", labels=labels)
    files = GaugeMetricFamily("swinstream_worker_open_fds", "File descriptors of a capture process", labels=labels)
    for number, worker in enumerate(snapshot.workers):
        name = [str(number)]
        restarts.add_metric(name, worker.restarts)
        cpu.add_metric(name, worker.cpu_s)
        cameras.add_metric(name, len(worker.cameras))
        if worker.pid is None:  # it is being replaced
            continue
        with contextlib.suppress(psutil.Error):  # it has just ended
            process = psutil.Process(worker.pid)
            memory.add_metric(name, process.memory_info().rss)
            threads.add_metric(name, process.num_threads())
            files.add_metric(name, process.num_fds())
    return [restarts, cpu, cameras, memory, threads, files]


def _journal(snapshot: Snapshot) -> list[Metric]:
    stats, path = snapshot.publisher, snapshot.journal
    files = [path, path.with_name(path.name + "-wal")]
    return [
        GaugeMetricFamily("swinstream_journal_seq", "seq of the run's last event", snapshot.seq),
        GaugeMetricFamily("swinstream_journal_size_bytes", "Size of the journal's files", sum(map(_size, files))),
        GaugeMetricFamily("swinstream_journal_full", "1 while the disk is full", stats.journal_full),
        CounterMetricFamily(
            "swinstream_journal_failures", "Attempts to write events that failed", stats.journal_failures
        ),
        GaugeMetricFamily(
            "swinstream_journal_held_events", "Events in memory that the journal could not take yet", stats.held
        ),
        CounterMetricFamily("swinstream_journal_lost_events", "Events that the journal will never have", stats.lost),
        CounterMetricFamily("swinstream_replay_requests", "Requests to the replay socket answered", stats.replays),
        CounterMetricFamily("swinstream_replay_refusals", "Of those, with an error", stats.refused),
    ]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
