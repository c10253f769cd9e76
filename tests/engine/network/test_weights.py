from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from engine.bundle import Bundle, BundleError  # noqa: E402
from engine.network.weights import load_recognizer, round_weights  # noqa: E402


def test_a_loaded_network_is_the_exported_one(exported):
    bundle = Bundle.load(exported)
    model, reference = load_recognizer(bundle), bundle.reference()
    assert not model.training
    picture, flow = torch.from_numpy(reference.picture)[None], torch.from_numpy(reference.flow)[None]
    with torch.no_grad():
        logits = model.forward_sequence(picture, flow).logits[0].numpy()
    assert np.abs(logits - reference.logits).max() < 1e-5


def test_weights_of_another_network_are_refused(exported):
    bundle = Bundle.load(exported)
    wider = bundle.spec.network.model_copy(update={"memory_channels": 20})
    other = Bundle(bundle.path, bundle.spec.model_copy(update={"network": wider}), {}, bundle.files)
    with pytest.raises(BundleError, match=r"weights\.safetensors does not belong .* memory\.hidden_gates\.weight"):
        load_recognizer(other)


def test_what_float16_cannot_hold_is_refused(small, recognizer):
    model = recognizer(small())
    with torch.no_grad():
        model.head.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"head\.weight"):
        round_weights(model)
