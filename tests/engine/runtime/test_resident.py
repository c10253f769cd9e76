"""The engine of GPUs, on the CPU: its own kernels compiled by g++, and ONNX Runtime as the compiled network."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from engine.bundle import Bundle
from engine.parity import check_parity
from engine.runtime.base import EngineInfo
from engine.runtime.device import DeviceEngine
from engine.runtime.resident import ResidentEngine
from tests.engine.runtime.host_device import HostDevice, OrtNetwork, kernel_folder

BATCHES = (1, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return kernel_folder(tmp_path_factory)


@pytest.fixture(scope="module")
def bundle(exported):
    return Bundle.load(exported)


@pytest.fixture
def device(folder):
    return HostDevice(folder)


@pytest.fixture
def engine(bundle, device):
    graph = bundle.onnx().read_bytes()
    networks = {batch: OrtNetwork(graph, bundle.spec, batch, device) for batch in BATCHES}
    engine = ResidentEngine(bundle.spec, EngineInfo("tensorrt", "fp32", "the CPU"), device, networks, slots=3)
    yield engine
    engine.close()


def run(engine, slots, clips, window):
    picture, flow = clips
    return engine.infer(slots, picture[:, window], flow[:, window])


def test_it_computes_what_was_trained(engine, bundle):
    assert check_parity(engine, bundle.reference()).used < 0.2


@pytest.mark.parametrize("n", [1, 3, 4, 6])
def test_a_batch_of_any_size_equals_each_alone(n, engine, bundle, clips):
    """Padded to 4, or cut into 4 and 2; the slots grow from 3 on the way, with states in them."""
    picture, flow = clips(bundle.spec, n, 3, seed=1)
    slots = [engine.open_slot() for _ in range(min(n, 3))]
    first = run(engine, slots, (picture[: len(slots)], flow[: len(slots)]), 0).logits
    slots += [engine.open_slot() for _ in range(n - len(slots))]
    if n > 3:
        first = np.concatenate((first, run(engine, slots[3:], (picture[3:], flow[3:]), 0).logits))
    together = [first, *(run(engine, slots, (picture, flow), w).logits for w in (1, 2))]
    for row in range(n):
        alone = engine.open_slot()
        for w in range(3):
            got = engine.infer([alone], picture[row : row + 1, w], flow[row : row + 1, w])
            assert got.finite.all()
            assert np.abs(got.logits[0] - together[w][row]).max() < 1e-5
        engine.close_slot(alone)


def test_nan_and_reset_touch_no_other_slot(engine, bundle, clips):
    picture, flow = clips(bundle.spec, 4, 3, seed=2)
    slots = [engine.open_slot() for _ in range(4)]
    clean = [run(engine, slots, (picture, flow), w).logits for w in range(3)]
    for slot in slots:
        engine.reset_slot(slot)
    spoilt = flow.copy()
    spoilt[1, 1, 0, 0, 5, 5] = np.nan
    run(engine, slots, (picture, spoilt), 0)
    got = run(engine, slots, (picture, spoilt), 1)
    assert got.finite.tolist() == [True, False, True, True]
    assert np.isnan(got.logits[1]).all()
    assert not any(s.any() for s in engine.state(slots[1])), "a state that was not finite is zeroed"
    others = [0, 2, 3]
    assert np.array_equal(got.logits[others], clean[1][others])
    engine.reset_slot(slots[2])
    got = run(engine, slots, (picture, flow), 2)
    assert got.finite.all(), "the slot recovers at once"
    assert np.array_equal(got.logits[[0, 3]], clean[2][[0, 3]])
    fresh = engine.open_slot()
    for row in (1, 2):  # zeroed and reset alike: as a stream that begins here
        engine.reset_slot(fresh)
        alone = engine.infer([fresh], picture[row : row + 1, 2], flow[row : row + 1, 2])
        assert np.abs(alone.logits[0] - got.logits[row]).max() < 1e-5


def test_a_batch_allocates_nothing_and_waits_once(engine, device, bundle, clips):
    windows = clips(bundle.spec, 4, 3, seed=3)
    slots = [engine.open_slot() for _ in range(3)]
    three = [x[:3] for x in windows]
    run(engine, slots, three, 0)
    allocations, synchronised, replayed = device.allocations, device.synchronised, device.replayed
    run(engine, slots, three, 1)
    assert device.allocations == allocations
    assert device.synchronised == synchronised + 1
    assert device.replayed == replayed + 1


def test_stress_of_the_slots(engine, bundle, clips):
    """Streams come and go at random, in batches of any size; each always gets what it would get alone."""
    random = np.random.default_rng(7)
    picture, flow = clips(bundle.spec, 3, 4, seed=4)
    alone = {}
    for clip in range(3):
        slot = engine.open_slot()
        for w in range(4):
            alone[clip, w] = engine.infer([slot], picture[clip : clip + 1, w], flow[clip : clip + 1, w]).logits[0]
        engine.close_slot(slot)
    streams = {}  # slot: [clip, next window]
    for _ in range(40):
        while len(streams) < random.integers(1, 12):
            streams[engine.open_slot()] = [int(random.integers(3)), 0]
        batch = [int(slot) for slot in random.permutation(list(streams))[: random.integers(1, 7)]]
        index = [streams[s] for s in batch]
        got = engine.infer(
            batch,
            np.stack([picture[c, w] for c, w in index]),
            np.stack([flow[c, w] for c, w in index]),
        )
        for row, slot in enumerate(batch):
            clip, window = streams[slot]
            assert np.abs(got.logits[row] - alone[clip, window]).max() < 1e-5
            streams[slot][1] += 1
            if window == 3 or random.random() < 0.1:
                engine.close_slot(slot)
                del streams[slot]


class Posted:
    """An InputSource that copies inputs from one place in the device's memory to where they are wanted."""

    def __init__(self, device, picture, flow):
        self._device, self._windows = device, {"picture": picture, "flow": flow}
        self._at = {name: device.allocate(array[:4].nbytes) for name, array in self._windows.items()}
        self.enqueued = []

    def upload(self, rows):
        for name, array in self._windows.items():
            self._device.upload(self._at[name], array[rows])

    def enqueue(self, rows, inputs):
        self.enqueued.append(rows)
        for name, array in self._windows.items():
            self._device.copy(inputs[name], self._at[name], array[:rows].nbytes)


def test_inputs_may_be_made_on_the_device(engine, device, bundle, clips):
    """Of six windows four at once and two more, that are padded; what makes them is recorded with the network."""
    assert isinstance(engine, DeviceEngine)
    assert engine.device is device
    assert engine.largest == 4
    picture, flow = (x[:, 0] for x in clips(bundle.spec, 6, seed=5))
    slots = [engine.open_slot() for _ in range(6)]
    expected = [engine.infer(slots, picture, flow).logits for _ in range(2)]
    for slot in slots:
        engine.reset_slot(slot)
    source = Posted(device, picture, flow)
    assert np.array_equal(engine.infer_from(slots, source).logits, expected[0])
    replayed = device.replayed
    assert np.array_equal(engine.infer_from(slots, source).logits, expected[1])
    assert device.replayed == replayed + 2
    assert source.enqueued == [4]
    flow[2, 0, 0, 0, 0] = np.inf
    got = engine.infer_from(slots, source)
    assert got.finite.tolist() == [True, True, False, True, True, True]


def test_what_does_not_fit_is_refused(engine, bundle, clips):
    picture, flow = (x[:, 0] for x in clips(bundle.spec, 2))
    slots = [engine.open_slot() for _ in range(3)]
    with pytest.raises(ValueError, match=r"picture is uint8 \[2, 4, 40, 24, 3\], expected uint8 \[3, "):
        engine.infer(slots, picture, flow)
    with pytest.raises(ValueError, match="flow is float32"):
        engine.infer(slots[:2], picture, flow.astype(np.float32))
    with pytest.raises(ValueError, match="twice"):
        engine.infer([slots[0], slots[0]], picture, flow)
    engine.close_slot(slots[2])
    with pytest.raises(ValueError, match="is not open"):
        engine.infer(slots[2:], picture[:1], flow[:1])
