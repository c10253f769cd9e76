from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from calibration import graph
from calibration.network import OpenVINONetwork, OrtNetwork
from tests.calibration.tiny import CHANNELS, OUTLIER, SPEC, tiny_graph

LIMITS = {"stacked": 8.0, "normal": 100.0, "state_0_h": 1.0}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(tiny_graph())


@pytest.fixture(scope="module")
def windows() -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    picture, flow, *states = SPEC.inputs
    return [
        rng.integers(0, 255, (3, *picture.shape), dtype=np.uint8),
        rng.normal(0, 1, (3, *flow.shape)).astype(np.float16),
        *(rng.uniform(-1, 1, (3, *state.shape)).astype(np.float32) for state in states),
    ]


def test_layers_are_the_nodes_with_constant_weights(model):
    assert [(layer.name, layer.activation) for layer in graph.layers(model)] == [
        ("conv", "stacked"),
        ("head", "normal"),
        ("memory", "state_0_h"),
    ]


def test_both_runtimes_compute_the_same(model, windows):
    plain = model.SerializeToString()
    for ours, theirs in zip(OrtNetwork(plain, SPEC)(windows), OpenVINONetwork(plain, SPEC)(windows), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_smoothing_changes_numbers_and_not_the_function(model, windows):
    assert graph.smoothable(model) == {"head": "norm"}
    scales = np.linspace(0.5, OUTLIER, CHANNELS).astype(np.float32)
    smooth = graph.smoothed(model, [graph.Smoothing("head", "norm", scales)])
    before, after = (OrtNetwork(m.SerializeToString(), SPEC)(windows) for m in (model, smooth))
    for ours, theirs in zip(before, after, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    largest = OrtNetwork(graph.with_outputs(smooth, ["normal"]), SPEC, ["normal"])(windows)[0]
    assert np.abs(largest[..., -1]).max() < 0.1 * OUTLIER


def test_nothing_is_smoothed_whose_norm_feeds_another_node(model):
    shared = onnx.ModelProto()
    shared.CopyFrom(model)
    shared.graph.node.append(onnx.helper.make_node("Identity", ["normal"], ["seen_too"]))
    assert graph.smoothable(shared) == {}


def test_chosen_layers_are_symmetric_int8_without_quantised_biases(model):
    made = onnx.load_model_from_string(graph.quantised(model, LIMITS, graph.layers(model)[:2]))
    onnx.checker.check_model(made, full_check=True)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    dequantised = [node for node in made.graph.node if node.op_type == "DequantizeLinear"]
    assert len(dequantised) == 4  # input and weights, twice
    for node in dequantised:
        assert not arrays[node.input[2]].any()
        assert arrays[node.input[2]].dtype == np.int8
    assert arrays["conv_scale"].shape == (CHANNELS,)
    assert arrays["stacked_scale"] == pytest.approx(LIMITS["stacked"] / 127, rel=0.01)
    assert not [t for t in made.graph.initializer if t.data_type == TensorProto.INT32]
    memory = next(node for node in made.graph.node if node.name == "memory")
    assert list(memory.input) == ["state_0_h", "memory"]  # not chosen: left as it was


def test_tensorrt_for_rtx_builds_the_graph(model):
    """Parses and builds without a GPU. Weights are shared with the parser, so the model must outlive it."""
    trt = pytest.importorskip("tensorrt_rtx")
    made = graph.quantised(model, LIMITS, graph.layers(model))
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, builder.logger)
    assert parser.parse(made), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    for tensor in SPEC.inputs:
        profile.set_shape(tensor.name, *((n, *tensor.shape) for n in (1, 4, 16)))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
