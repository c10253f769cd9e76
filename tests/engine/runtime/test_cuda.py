"""CudaDevice with a pretended PyCUDA: its calls, how arguments are packed, and contexts. Not what a GPU does."""

from __future__ import annotations

import logging

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from engine.bundle import Bundle
from engine.parity import check_parity
from engine.runtime.base import EngineError, EngineInfo
from engine.runtime.cuda import CudaDevice, argument_types
from engine.runtime.driver import GPU
from engine.runtime.resident import ResidentEngine
from tests.engine.runtime import pretended_pycuda
from tests.engine.runtime.host_device import OrtNetwork, kernel_folder

PRETENDED = GPU(0, "Pretended GPU", 90, 16384, "CUDA 13.0")


@pytest.fixture
def pycuda(tmp_path_factory, monkeypatch):
    def refuse(*_):
        raise EngineError("not here")

    monkeypatch.setattr("engine.runtime.driver.record", refuse)
    return pretended_pycuda.install(kernel_folder(tmp_path_factory), monkeypatch)


def engine_on(device, bundle):
    device.run = lambda function: function()  # a network's work, for OrtNetwork
    networks = {batch: OrtNetwork(bundle.onnx().read_bytes(), bundle.spec, batch, device) for batch in (1, 2)}
    return ResidentEngine(bundle.spec, EngineInfo("tensorrt", "fp32", "the CPU"), device, networks, slots=1)


def test_an_engine_on_it_computes_what_was_trained(pycuda, exported, caplog):
    """And where the driver cannot record a graph, the work is done itself, and that is said."""
    bundle = Bundle.load(exported)
    engine = engine_on(CudaDevice(PRETENDED), bundle)
    with caplog.at_level(logging.WARNING):
        assert check_parity(engine, bundle.reference()).used < 0.2
    assert "no CUDA graph: not here" in caplog.text
    engine.close()
    assert not pretended_pycuda.STACK, "a thread must not end with a context of its own"


def test_devices_of_one_thread_share_its_context(pycuda, exported):
    """When the first is closed, as in a reload, the other goes on: it opens slots, which takes memory."""
    bundle = Bundle.load(exported)
    first, second = (engine_on(CudaDevice(PRETENDED), bundle) for _ in range(2))
    first.close()
    slots = [second.open_slot() for _ in range(3)]
    assert len(second.state(slots[2])) == len(bundle.spec.state_tensors)
    second.close()
    assert not pretended_pycuda.STACK
    third = engine_on(CudaDevice(PRETENDED), bundle)
    third.close()
    assert not pretended_pycuda.STACK


def test_arguments_are_packed_as_the_kernels_take_them():
    """An address is 8 bytes, an int32 4: by another letter the kernel would read its neighbour."""
    assert argument_types([b"x" * 144, np.int32(1)]) == ["144s", "i"]
    assert argument_types([1 << 40, 2, np.int32(3)]) == ["P", "P", "i"]


def test_too_little_memory_is_told_in_words(tmp_path, monkeypatch):
    pycuda = pretended_pycuda.install(tmp_path, monkeypatch, free_bytes=1 << 20)
    device = CudaDevice(PRETENDED)
    with pytest.raises(EngineError, match=r"needs 2 MiB on Pretended GPU .*, which has 1 MiB left"):
        device.allocate(2 << 20)

    def none_left(*_):
        raise pycuda.MemoryError("cuMemAlloc failed")

    pycuda.mem_alloc = pycuda.pagelocked_zeros = none_left
    with pytest.raises(EngineError, match="has no 0 MiB left"):
        device.allocate(1)
    with pytest.raises(EngineError, match="no pinned memory left"):
        device.pinned((1,), np.uint8)
    device.close()


def test_a_context_that_cannot_be_had_leaves_nothing_behind(pycuda):
    def refuse():
        raise pycuda.Error("cuStreamCreate failed")

    pycuda.Stream = refuse
    with pytest.raises(EngineError, match=r"CUDA cannot be used on Pretended GPU .*cuStreamCreate failed"):
        CudaDevice(PRETENDED)
    assert not pretended_pycuda.STACK


def test_kernels_that_the_driver_refuses(pycuda):
    def refuse(_):
        raise pycuda.Error("no kernel image is available")

    pycuda.module_from_buffer = refuse
    device = CudaDevice(PRETENDED)
    with pytest.raises(EngineError, match=r"state\.cu cannot be loaded on Pretended GPU .*no kernel image"):
        device.load("", "state.cu")
    device.close()
