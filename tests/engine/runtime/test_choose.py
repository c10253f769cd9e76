from __future__ import annotations

import numpy as np
import pytest
import yaml

from engine.bundle import Bundle, _sha256
from engine.parity import ParityError
from engine.runtime.base import EngineError
from engine.runtime.choose import choose_engine


@pytest.fixture(scope="module")
def bundle(exported):
    return Bundle.load(exported)


def test_tensorrt_refuses_in_clear_words(bundle):
    with pytest.raises(EngineError, match="this version of swinstream runs models on OpenVINO only"):
        choose_engine(bundle, "tensorrt")


def test_auto_falls_back_and_says_why(bundle):
    engine = choose_engine(bundle)
    assert engine.info.kind == "openvino"
    assert engine.info.reason.startswith("no TensorRT: ")
    assert "no TensorRT" in str(engine.info)
    assert choose_engine(bundle, "openvino").info.reason == ""


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
