from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
import onnx  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from engine.bundle import Bundle  # noqa: E402
from engine.export import ExportError, check_graph, reference  # noqa: E402
from engine.network.weights import load_recognizer  # noqa: E402
from tests.engine.conftest import EXPORTED_FORMS as FORMS  # noqa: E402

pytestmark = pytest.mark.timeout(300)  # the exporter takes 2 to 5 s a graph, on cores that may be shared

WINDOWS = 2


@pytest.mark.parametrize("form", FORMS)
def test_onnx_runtime_agrees(form, exported_form, clips):
    model, graph = exported_form(form)
    agrees(graph, model, clips)


def test_onnx_runtime_agrees_on_the_shared_bundle(exported, clips):
    bundle = Bundle.load(exported)
    agrees(bundle.onnx(), load_recognizer(bundle), clips)


def agrees(graph, model, clips):
    """Windows in a row with the state carried, in a batch of 3 (traced with 2)."""
    spec = model.spec
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options)
    picture, flow = clips(spec, 3, WINDOWS)
    expected = [s.numpy() for s in model.initial_state(3)]
    state = [s.copy() for s in expected]
    for window in range(WINDOWS):
        inputs = [picture[:, window], *([flow[:, window]] if spec.flow_ticks else []), *state]
        logits, *state = session.run(None, {t.name: x for t, x in zip(spec.inputs, inputs, strict=True)})
        with torch.no_grad():
            torch_logits, torch_state = model(
                torch.from_numpy(picture[:, window]),
                torch.from_numpy(flow[:, window]),
                [torch.from_numpy(s) for s in expected],
            )
        expected = [s.numpy() for s in torch_state]
        assert np.abs(logits - torch_logits.numpy()).max() < 1e-5
        assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(state, expected, strict=True))


def test_the_graph_tells_nothing_of_this_machine(exported):
    assert b"/site-packages/" not in (exported / "network.fp32.onnx").read_bytes()


def test_a_graph_with_shape_arithmetic_is_refused(exported, small):
    graph = onnx.load(exported / "network.fp32.onnx")
    graph.graph.node.append(helper.make_node("Shape", ["picture"], ["size"]))
    with pytest.raises(ExportError, match="holds Shape"):
        check_graph(graph, small())


def test_a_graph_of_other_tensors_is_refused(exported, small):
    graph = onnx.load(exported / "network.fp32.onnx")
    graph.graph.output.append(helper.make_tensor_value_info("logits_again", TensorProto.FLOAT, ["N", 4, 5]))
    graph.graph.node.append(helper.make_node("Identity", ["logits"], ["logits_again"]))
    with pytest.raises(ExportError, match="has outputs"):
        check_graph(graph, small())


def test_reference_carries_the_state(small, recognizer, clips):
    spec = small()
    model = recognizer(spec)
    picture, flow = (x[0] for x in clips(spec, 1, 3))
    got = reference(model, picture, flow)
    with torch.no_grad():
        whole = model.forward_sequence(torch.from_numpy(picture)[None], torch.from_numpy(flow)[None])
    assert np.abs(got.logits - whole.logits[0].numpy()).max() < 1e-5
    for states, last in zip(got.states, whole.state, strict=True):
        assert states.shape == (3, *last.shape[1:])
        assert np.abs(states[-1] - last[0].numpy()).max() < 1e-5
