"""A GPU's engine, on the CPU with the same kernels: its inputs are made on its device, or the reason is told."""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from engine.bundle import Bundle
from engine.runtime.base import Engine, EngineInfo
from engine.runtime.openvino import OpenVINOEngine
from engine.runtime.resident import ResidentEngine
from stream.device_clip import DeviceClips, _drifting
from stream.frame import ClockSource, StreamKey, Window
from stream.messages import WindowReady
from stream.placement import place_inputs
from stream.recognition import Recognition
from stream.result import Recognized
from tests.engine.runtime.host_device import HostDevice, OrtNetwork, kernel_folder
from tests.formula_bundle import SPEC

STREAMS = [StreamKey(f"camera-{n}", "full") for n in range(3)]
WINDOWS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kernel_folder(tmp_path_factory)


@pytest.fixture(autouse=True)
def _reference_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with one thread for a pixel: the fast ones, which are as good, take a real thread for each of a block."""
    monkeypatch.setattr("stream.placement.DeviceClips", partial(DeviceClips, tiled=False))


Make = Callable[..., ResidentEngine]
Found = dict[tuple[StreamKey, int], Recognized]


@pytest.fixture
def make(folder: Path, motion_bundle: Bundle) -> Make:
    """make(refused=...): an engine as TensorRT's, its network run by ONNX Runtime."""

    def made(refused: tuple[str, ...] = (), reason: str = "") -> ResidentEngine:
        device = HostDevice(folder, refused)
        graph = motion_bundle.onnx().read_bytes()
        networks = {batch: OrtNetwork(graph, SPEC, batch, device) for batch in (1, 2)}
        info = EngineInfo("tensorrt", "fp16", "the CPU", reason, batch=2)
        return ResidentEngine(SPEC, info, device, networks)

    return made


def window_of(stream: StreamKey, index: int) -> Window:
    """Of each stream something else moves, and in each window otherwise."""
    made = _drifting(SPEC, STREAMS.index(stream) + 3 * index)
    return Window(stream, 0, index, made.pictures, made.pts_ns, 0, 0, ClockSource.ARRIVAL)


class Shelf:
    """In the place of capture's rings."""

    def window(self, ready: WindowReady) -> Window:
        return window_of(ready.stream, ready.index)

    def skip(self, ready: WindowReady) -> None:
        raise AssertionError(ready)


@pytest.fixture
def recognize() -> Iterator[Callable[[Callable[[], Engine]], tuple[Recognition, Found]]]:
    """All windows of all streams, live: the recognition and what it found."""
    started: list[Recognition] = []

    def run(make: Callable[[], Engine]) -> tuple[Recognition, Found]:
        recognition = Recognition(Shelf(), {"m": make})  # type: ignore[arg-type]
        started.append(recognition)
        recognition.start()
        found: Found = {}
        for stream in STREAMS:
            recognition.add(stream, "m", lossless=True)
        for index in range(WINDOWS):
            for stream in STREAMS:
                recognition.offer(WindowReady(stream, 0, index, 0, index))
        deadline_s = time.monotonic() + 60
        while len(found) < len(STREAMS) * WINDOWS:
            assert time.monotonic() < deadline_s
            select.select([recognition.wakeup], [], [], 1.0)
            for result in recognition.collect():
                assert isinstance(result, Recognized)
                found[result.ready.stream, result.ready.index] = result
        return recognition, found

    yield run
    for recognition in started:
        recognition.stop()


def logits_of(found: Found) -> np.ndarray:
    assert all(result.finite for result in found.values())
    return np.stack([found[key].logits for key in sorted(found)])


def test_live_results_are_those_of_the_cpu(make: Make, motion_bundle: Bundle, recognize: Callable[..., tuple]) -> None:
    """Batches of one and two, states carried, flow where it moves; OpenCV's flow on the CPU says the same."""
    engines: list[ResidentEngine] = []
    placed, found = recognize(lambda: engines.append(make()) or engines[0])  # type: ignore[func-returns-value]
    _, expected = recognize(lambda: OpenVINOEngine(motion_bundle, precision="fp32"))
    assert sorted(found) == sorted(expected)
    assert np.abs(logits_of(found) - logits_of(expected)).max() < 0.05
    assert np.ptp(logits_of(expected)[:, :, 0]) > 4  # as much as half a pixel a tick
    stats = placed.engine_stats()["m"]
    assert stats.info.reason == ""
    assert set(stats.batch_sizes) <= {1, 2}
    assert engines[0].device.replayed == stats.batches  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["dis.cu", "clip.cu"])
def test_kernels_that_cannot_be_had_leave_flow_to_the_cpu_and_say_so(
    name: str, make: Make, recognize: Callable[..., tuple], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        recognition, found = recognize(lambda: make(refused=(name,), reason="fp16 did not pass"))
    reason = f"fp16 did not pass; optical flow is computed on the CPU: {name} does not compile"
    assert recognition.engine_stats()["m"].info.reason == reason
    assert f"optical flow is computed on the CPU: {name} does not compile" in caplog.text
    _, expected = recognize(make)
    assert np.abs(logits_of(found) - logits_of(expected)).max() < 0.05


def test_the_runner_that_is_started_tells_the_reason(make: Make) -> None:
    recognition = Recognition(Shelf(), {"m": lambda: make(refused=("dis.cu",))})  # type: ignore[arg-type]
    runners = recognition.start()
    assert "flow is computed on the CPU" in runners["m"].info.reason
    recognition.stop()


def test_an_engine_of_a_gpu_that_takes_no_sources_says_so(motion_bundle: Bundle) -> None:
    class Wrapped(OpenVINOEngine):
        @property
        def info(self) -> EngineInfo:
            return EngineInfo("tensorrt", "fp16", "a GPU")

    engine = Wrapped(motion_bundle, precision="fp32")
    _, reason = place_inputs(engine)
    assert reason == "optical flow is computed on the CPU: this engine takes no inputs that are made on its GPU"
    engine.close()


def test_an_engine_is_closed_where_its_inputs_break_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the kernels alone: a device that is lost, for one."""

    def lost(*_: object) -> None:
        raise RuntimeError("device lost")

    monkeypatch.setattr("stream.placement.DeviceClips", lost)
    engines: list[ResidentEngine] = []
    recognition = Recognition(Shelf(), {"m": lambda: engines.append(make()) or engines[0]})  # type: ignore[arg-type,func-returns-value]
    with pytest.raises(RuntimeError, match="device lost"):
        recognition.start()
    recognition.stop()
    assert engines[0].device.closed  # type: ignore[attr-defined]
