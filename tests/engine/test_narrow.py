"""Weights stored as float16: the same numbers, in every runtime."""

from __future__ import annotations

import copy

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, numpy_helper  # noqa: E402

from calibration.network import OpenVINONetwork, OrtNetwork, zero_states  # noqa: E402
from engine.bundle import Bundle  # noqa: E402
from engine.narrow import MIN_SIZE, narrowed, widened  # noqa: E402


@pytest.fixture(scope="module")
def bundle(exported):
    return Bundle.load(exported)


@pytest.fixture
def stored(bundle):
    return onnx.load(bundle.onnx())


def test_an_exported_graph_is_narrow_and_widens_to_what_it_was(bundle, stored):
    onnx.checker.check_model(stored, full_check=True)
    weights = {t.name: t for t in stored.graph.initializer if t.data_type == TensorProto.FLOAT16}
    assert len(weights) > 5
    wide = widened(copy.deepcopy(stored))
    onnx.checker.check_model(wide, full_check=True)
    assert not [t for t in wide.graph.initializer if t.data_type == TensorProto.FLOAT16]
    assert len(stored.graph.node) == len(wide.graph.node) + len(weights)
    trained = bundle.weights_arrays()
    gates = next(numpy_helper.to_array(t) for t in wide.graph.initializer if t.name.endswith("hidden_gates.weight"))
    assert np.array_equal(gates, trained["memory.hidden_gates.weight"])
    assert narrowed(wide).SerializeToString() == stored.SerializeToString()


@pytest.mark.parametrize("runtime", [OrtNetwork, OpenVINONetwork])
def test_runtimes_compute_the_same_bits(bundle, stored, runtime):
    reference, spec = bundle.reference(), bundle.spec
    inputs = [reference.picture[:1], reference.flow[:1], *zero_states(spec)]
    wide = widened(copy.deepcopy(stored))
    for narrow, plain in zip(*(runtime(m.SerializeToString(), spec)(inputs) for m in (stored, wide)), strict=True):
        assert np.array_equal(narrow, plain)


@pytest.mark.parametrize(
    ("value", "size", "narrow"),
    [(0.5, MIN_SIZE, True), (0.1, MIN_SIZE, False), (1e5, MIN_SIZE, False), (0.5, MIN_SIZE - 1, False)],
)
def test_only_what_is_large_and_exact_is_narrowed(value, size, narrow):
    values = np.ones(size, np.float32)
    values[-1] = value
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "weight"], ["y"])],
        "add",
        [onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, [size])],
        [onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, [size])],
        [numpy_helper.from_array(values, "weight")],
    )
    model = narrowed(onnx.helper.make_model(graph))
    assert [t.data_type == TensorProto.FLOAT16 for t in model.graph.initializer] == [narrow]
    assert np.array_equal(numpy_helper.to_array(widened(model).graph.initializer[0]), values)
