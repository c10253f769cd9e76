from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from engine.build import Recipe
from engine.bundle import Bundle, _sha256
from engine.cache import EngineCache
from engine.parity import ParityError
from engine.runtime.base import EngineError
from engine.runtime.choose import choose_engine, prefer
from engine.trial import try_tensorrt
from tests.engine.runtime.pretended_driver import install

without_gpu = pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="what is said where there is no GPU")


@pytest.fixture(scope="module")
def bundle(exported):
    return Bundle.load(exported)


@without_gpu
def test_tensorrt_refuses_in_clear_words(bundle):
    with pytest.raises(EngineError, match=r"^no TensorRT: this machine has no NVIDIA driver$"):
        choose_engine(bundle, "tensorrt")
    with pytest.raises(EngineError, match="fp16 is for TensorRT, which cannot run here: no TensorRT: this machine"):
        choose_engine(bundle, precision="fp16")


def test_a_crash_inside_the_library_is_an_error(bundle, monkeypatch, tmp_path):
    """The trial's process dies as TensorRT's runtime does without a driver; this one lives, and says so."""
    crash = tmp_path / "python"
    crash.write_text("#!/bin/sh\necho error 35 >&2\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr("engine.trial.sys.executable", str(crash))
    with pytest.raises(EngineError, match=r"TensorRT crashed \(signal 11\) with model 'small' in fp16: error 35"):
        try_tensorrt(bundle, Recipe("tensorrt", "fp16"))


@without_gpu
def test_the_trial_refuses_in_words_before_it_loads_a_library(bundle, tmp_path):
    with pytest.raises(EngineError, match=r"^this machine has no NVIDIA driver$"):
        try_tensorrt(bundle, Recipe("tensorrt-rtx", "fp16"), cache=EngineCache(tmp_path))


@without_gpu
def test_auto_falls_back_and_says_why(bundle):
    engine = choose_engine(bundle)
    assert engine.info.kind == "openvino"
    assert engine.info.reason.startswith("no TensorRT: ")
    assert "no TensorRT" in str(engine.info)
    assert choose_engine(bundle, "openvino").info.reason == ""


def test_tensorrt_is_preferred_once_all_that_it_takes_is_there(tmp_path, monkeypatch, motion_bundle):
    """In the order in which things are got: GPU, TensorRT, PyCUDA."""
    install(tmp_path, monkeypatch, gpus=1, capability=(9, 0))  # TensorRT for RTX is none for it
    lacking = prefer(motion_bundle)
    assert (lacking.library, lacking.reason.split(" (")[0]) == (None, "no TensorRT: tensorrt is not installed")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tensorrt.py").write_text("")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert prefer(motion_bundle).reason.startswith("no TensorRT: PyCUDA is missing: pip install")
    (tmp_path / "pycuda.py").write_text("")
    assert prefer(motion_bundle) == ("tensorrt", "fp16", "")
    assert prefer(motion_bundle, "auto", "fp32").precision == "fp32"


def test_an_engine_that_computes_something_else_is_not_served(bundle_folder):
    """A graph whose weights differ a little from those that were trained: whole, of the right shape, and wrong."""
    import onnx
    from onnx import numpy_helper

    path = bundle_folder / "network.fp32.onnx"
    graph = onnx.load(path)
    bias = next(i for i in graph.graph.initializer if i.name.endswith("head.bias"))
    changed = numpy_helper.to_array(bias) + np.float32([0, 0, 0.05, 0, 0])
    bias.CopyFrom(numpy_helper.from_array(changed, bias.name))
    onnx.save(graph, path)
    manifest = yaml.safe_load((bundle_folder / "model.yaml").read_text())
    manifest["files"][path.name] = _sha256(path)
    (bundle_folder / "model.yaml").write_text(yaml.safe_dump(manifest))
    with pytest.raises(ParityError, match=r"openvino \(.*\) does not compute .* logits\[\d, 2\] of reference window 0"):
        choose_engine(Bundle.load(bundle_folder), "openvino")
