"""Flow on the GPU, live: results and events are those of DIS on the CPU. The first test runs the kernels on the CPU."""

from __future__ import annotations

import json
from functools import partial

import pytest

pytest.importorskip("onnxruntime")

from engine.build import Recipe
from engine.bundle import Bundle, shipped
from engine.cache import EngineCache
from engine.parity import LIMITS
from engine.runtime.base import EngineInfo, Precision
from engine.runtime.driver import find_gpu
from engine.runtime.resident import ResidentEngine
from engine.runtime.tensorrt import choose_library, open_tensorrt
from stream.demo.motions import ACTIONS
from stream.device_clip import DeviceClips
from tests.engine.runtime.host_device import HostDevice, OrtNetwork, kernel_folder
from tests.gpu.live import compare, draw_films, same_events


def step_ns(bundle):
    return round(bundle.spec.ticks / bundle.spec.steps / bundle.spec.rate_hz * 1e9)


def test_the_comparison_itself_with_the_kernels_on_the_cpu(tmp_path_factory, tmp_path, monkeypatch):
    monkeypatch.setattr("stream.placement.DeviceClips", partial(DeviceClips, tiled=False))
    bundle = Bundle.load("movements")
    device = HostDevice(kernel_folder(tmp_path_factory))
    graph = bundle.onnx().read_bytes()
    networks = {batch: OrtNetwork(graph, bundle.spec, batch, device) for batch in (1, 2)}
    engine = ResidentEngine(bundle.spec, EngineInfo("tensorrt", "fp32", "the CPU"), device, networks)
    compared = compare(engine, bundle, draw_films(tmp_path, ("walk", "wave2"), 2))
    assert compared.windows > 20
    assert compared.logits <= LIMITS["fp32"].logits * compared.largest
    assert sum(map(len, compared.events[1])) >= 2
    assert same_events(compared, step_ns(bundle))
    other = compared._replace(events=(compared.events[0], compared.events[1][::-1]))
    assert not same_events(other, step_ns(bundle))
    engine.close()


@pytest.mark.needs_gpu
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", shipped())
def test_on_a_gpu_flow_says_what_dis_on_the_cpu_says(name, precision: Precision, tmp_path, record_property):
    """20 streams, more than one batch; states carried. Logits within the precision's limits; the same events."""
    bundle = Bundle.load(name)
    recipe = Recipe(choose_library(), precision, (1, 4, 16))
    engine = open_tensorrt(bundle, recipe, cache=EngineCache(tmp_path / "engines"))
    compared = compare(engine, bundle, draw_films(tmp_path, ACTIONS, 20))
    engine.close()
    told = {"model": name, "precision": precision, "gpu": find_gpu().name, **compared.told()}
    record_property("live", json.dumps(told))
    assert compared.logits <= LIMITS[precision].logits * max(1, compared.largest)
    assert same_events(compared, step_ns(bundle))
