from __future__ import annotations

import copy

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, numpy_helper  # noqa: E402

from engine.bundle import Bundle  # noqa: E402
from engine.narrow import widened  # noqa: E402
from engine.parity import LIMITS  # noqa: E402
from engine.precision import BF16_OPSET, PRODUCTS, TYPES, to_half  # noqa: E402

STAYS_FLOAT32 = {"LayerNormalization", "Softmax", "Sigmoid", "Tanh"}


@pytest.fixture(scope="module")
def bundle(exported):
    return Bundle.load(exported)


@pytest.fixture(scope="module")
def graph(bundle):
    return onnx.load(bundle.onnx())


def types_of(model):
    """Element type of every value."""
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    return {v.name: v.type.tensor_type.elem_type for v in values} | {
        i.name: i.data_type for i in model.graph.initializer
    }


@pytest.fixture(params=["head", "blocks"])
def memory_graph(request, graph, exported_form):
    """A memory at the end, and memories in between."""
    if request.param == "head":
        return graph
    return onnx.load(exported_form("rgb+flow conv blocks-residual")[1])


@pytest.mark.parametrize("half", ["fp16", "bf16"])
def test_what_sums_and_what_is_carried_stays_float32(memory_graph, half):
    before = memory_graph.SerializeToString()
    model = to_half(memory_graph, half)
    assert memory_graph.SerializeToString() == before
    onnx.checker.check_model(model, full_check=True)
    types = types_of(model)
    for node in model.graph.node:
        expected = TensorProto.FLOAT if node.op_type in STAYS_FLOAT32 else TYPES[half]
        if node.op_type in STAYS_FLOAT32 | PRODUCTS:
            assert {types[name] for name in (*node.input, *node.output)} == {expected}, node.name
    constants = {tensor.name for tensor in model.graph.initializer}
    assert not [n.name for n in model.graph.node if n.op_type == "Cast" and n.input[0] in constants]
    for kept, made in (
        (memory_graph.graph.input, model.graph.input),
        (memory_graph.graph.output, model.graph.output),
    ):
        assert [v.SerializeToString() for v in kept] == [v.SerializeToString() for v in made]
    states = [output.name for output in model.graph.output][1:]
    assert not rounded_on_the_way(model, types, states, TYPES[half]), "the cell state was rounded"


def rounded_on_the_way(model, types, names, half):
    """Half values other than a product's that lead to `names` without a product between."""
    maker = {name: node for node in model.graph.node for name in node.output}
    found, seen, stack = [], set(), list(names)
    while stack:
        name = stack.pop()
        if name in seen or name not in maker:
            continue
        seen.add(name)
        node = maker[name]
        if node.op_type in PRODUCTS:
            continue
        if types[name] == half and not leads_from_product(maker, name):
            found.append(name)
        stack += node.input
    return found


def leads_from_product(maker, name):
    node = maker[name]
    while node.op_type in {"Reshape", "Transpose", "Slice", "Gather", "Add"} and node.input[0] in maker:
        node = maker[node.input[0]]
    return node.op_type in PRODUCTS


def test_fp16_is_within_its_limits(bundle, graph):
    """In ONNX Runtime, over all reference windows with the state carried."""
    reference, spec = bundle.reference(), bundle.spec
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_half(graph, "fp16").SerializeToString(), options)
    state = [np.zeros((1, *t.shape), np.float32) for t in spec.state_tensors]
    worst = []
    for window in range(len(reference.logits)):
        rows = slice(window, window + 1)
        inputs = [reference.picture[rows], reference.flow[rows], *state]
        logits, *state = session.run(None, dict(zip([t.name for t in spec.inputs], inputs, strict=True)))
        worst.append(np.abs(logits - reference.logits[rows]).max())
        assert all(
            np.abs(s - r[rows]).max() < LIMITS["fp16"].states for s, r in zip(state, reference.states, strict=True)
        )
    assert 1e-6 < max(worst) < LIMITS["fp16"].logits * max(1, np.abs(reference.logits).max())


def test_bf16_has_the_opset_that_allows_it_and_rounds_to_nearest(graph):
    model = to_half(graph, "bf16")
    assert model.opset_import[0].version == BF16_OPSET
    originals = {i.name: numpy_helper.to_array(i) for i in widened(copy.deepcopy(graph)).graph.initializer}
    converted = {i.name: i for i in model.graph.initializer if i.data_type == TensorProto.BFLOAT16}
    assert converted
    for name, tensor in converted.items():
        values = np.frombuffer(tensor.raw_data, np.uint16).astype(np.uint32) << 16
        original = originals[name.removesuffix("_bf16")]
        error = np.abs(values.view(np.float32).reshape(original.shape) - original)
        assert (error <= np.abs(original) * 2**-8).all()
        assert error.any() or not original.any() or np.isin(original, (-100, 0, 1)).all() or original.size < 9


def test_weights_that_fp16_cannot_hold_are_refused(graph):
    large = copy.deepcopy(graph)
    weight = next(i for i in large.graph.initializer if i.name.endswith("head.bias") is False and i.data_type == 1)
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = 1e5
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(ValueError, match="holds values that fp16 cannot: use bf16"):
        to_half(large, "fp16")
    to_half(large, "bf16")
