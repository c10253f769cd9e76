"""What only an NVIDIA GPU shows: engines of every precision, parity, state slots under stress, and speed.

`make test-gpu` runs this, and makes its report of what the tests record. The same engine on the CPU, with the same
kernels, is tests/engine/runtime/test_resident.py.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from engine.build import Recipe, build_engine
from engine.bundle import Bundle, shipped
from engine.cache import EngineCache
from engine.parity import check_parity
from engine.runtime.choose import choose_engine
from engine.runtime.tensorrt import choose_library, open_tensorrt
from engine.tensorrt_build import layer_report
from engine.trial import try_tensorrt

pytestmark = [pytest.mark.needs_gpu, pytest.mark.timeout(1800)]

BATCHES = (1, 4, 16)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return EngineCache(tmp_path_factory.mktemp("engines"))


@pytest.fixture(params=shipped())
def bundle(request):
    return Bundle.load(request.param)


@pytest.fixture(params=["fp32", "fp16", "bf16", "int8"])
def precision(request, bundle):
    if request.param == "int8" and "int8" not in bundle.precisions:
        pytest.skip(f"{bundle.name} has no int8 graph")
    return request.param


def test_parity(bundle, precision, cache, record_property):
    parity = try_tensorrt(bundle, Recipe(choose_library(), precision, BATCHES), cache=cache)
    built = build_engine(bundle, Recipe(choose_library(), precision, BATCHES), cache=cache)
    size_mb = round(len(built.payload) / 1e6, 1)
    told = {"model": bundle.name, "precision": precision, "library": built.key.library, "size_mb": size_mb}
    record_property("parity", json.dumps(told | parity._asdict()))
    engine = open_tensorrt(bundle, Recipe(choose_library(), precision, BATCHES), cache=cache)
    assert check_parity(engine, bundle.reference()).used <= 1
    engine.close()


def test_every_layer_is_reported(bundle, precision, cache):
    built = build_engine(bundle, Recipe(choose_library(), precision, BATCHES), cache=cache)
    assert layer_report(built.payload, choose_library())


def test_a_damaged_engine_is_built_again(bundle, cache):
    built = build_engine(bundle, Recipe(choose_library(), "fp16", BATCHES), cache=cache)
    built.path.write_bytes(built.path.read_bytes()[:-1])
    assert build_engine(bundle, Recipe(choose_library(), "fp16", BATCHES), cache=cache).fresh


def test_stress_of_the_slots(bundle, cache, record_property):
    """400 streams in batches of any size, opened, reset and closed at random: each gets what it gets alone."""
    engine = open_tensorrt(bundle, Recipe(choose_library(), "fp32", BATCHES), cache=cache)
    reference = bundle.reference()
    windows = len(reference.logits)
    random = np.random.default_rng(0)
    streams: dict[int, int] = {}  # slot: next window
    computed, most = 0, 0.0
    for _ in range(600):
        while len(streams) < 400:
            streams[engine.open_slot()] = 0
        batch = [int(s) for s in random.permutation(list(streams))[: random.integers(1, 40)]]
        at = [streams[slot] for slot in batch]
        got = engine.infer(batch, reference.picture[at], reference.flow[at])
        assert got.finite.all()
        computed += len(batch)
        most = max(most, float(np.abs(got.logits - reference.logits[at]).max()))
        assert most < 1e-2 * max(1, np.abs(reference.logits).max())
        for slot in batch:
            streams[slot] += 1
            if streams[slot] == windows or random.random() < 0.02:
                engine.close_slot(slot)
                del streams[slot]
            elif random.random() < 0.02:
                engine.reset_slot(slot)
                streams[slot] = 0
    engine.close()
    told = {"model": bundle.name, "streams": 400, "windows": computed, "logits": most}
    record_property("stress", json.dumps(told | {"of": float(np.abs(reference.logits).max())}))


def test_nan_reaches_no_other_slot(bundle, cache):
    engine = open_tensorrt(bundle, Recipe(choose_library(), "fp16", BATCHES), cache=cache)
    reference = bundle.reference()
    picture, flow = reference.picture[[0] * 4], reference.flow[[0] * 4].copy()
    if not flow.size:
        pytest.skip("this model sees no flow")
    slots = [engine.open_slot() for _ in range(4)]
    clean = engine.infer(slots, picture, flow).logits
    for slot in slots:
        engine.reset_slot(slot)
    flow[1].flat[7] = np.nan
    got = engine.infer(slots, picture, flow)
    assert got.finite.tolist() == [True, False, True, True]
    assert np.array_equal(got.logits[[0, 2, 3]], clean[[0, 2, 3]])
    assert not any(s.any() for s in engine.state(slots[1]))
    engine.close()


def test_auto_takes_the_gpu(bundle):
    engine = choose_engine(bundle)
    assert engine.info.kind == "tensorrt"
    assert not engine.info.reason
    engine.close()


def test_it_is_faster_than_compiled_torch(bundle, record_property):
    command = ["-m", "swinstream", "bench", "engine", str(bundle.path), "--batch", "1,16", "--json"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    record_property("bench", done.stdout)
    speed = {(c["backend"], c["precision"], c["batch"]): c["windows_per_s"] for c in lines}
    assert speed["torch compiled", "fp16", 16], "not measured: there is nothing to compare with"
    assert speed["tensorrt", "fp16", 16] > speed["torch compiled", "fp16", 16]
