from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from engine.network.pretrained import PretrainedError, load_swin3d  # noqa: E402
from engine.network.recognizer import Recognizer  # noqa: E402

FIXTURE = Path(__file__).parents[1] / "fixtures/swin3d_t_logits.npz"
CLIPS = ("32x224x224", "16x112x112", "12x104x136")


@pytest.fixture(scope="module")
def state_dict(swin3d_fixture):
    with np.load(FIXTURE) as fixture:
        shapes = json.loads(str(fixture["state_dict"]))
    return {name: torch.from_numpy(swin3d_fixture.filled(name, tuple(shape))) for name, shape in shapes.items()}


@pytest.mark.parametrize("clip", CLIPS)
def test_logits_equal_torchvision(clip, state_dict, published, swin3d_fixture):
    ticks, height, width = map(int, clip.split("x"))
    model = Recognizer(published(400, ticks, height, width)).eval()
    report = load_swin3d(model, state_dict)
    assert len(report.loaded) == len(state_dict)
    assert not report.resized + report.mismatched + report.missing + report.unused

    picture = torch.from_numpy(swin3d_fixture.clip((ticks, height, width)))[None]
    with torch.inference_mode():
        logits, _ = model(picture, torch.zeros(1, 0, 2, height, width, dtype=torch.float16), [])
    with np.load(FIXTURE) as fixture:
        expected = fixture[clip]
    # per-step logits of one linear layer: their mean is the published logit of the mean
    assert np.abs(logits[0].mean(0).numpy() - expected).max() < 1e-4


def test_what_does_not_fit_is_reported(state_dict, published):
    spec = published(11, 16, 112, 112, memory="head", memory_mode="residual", window=(6, 5, 5))
    spec = spec.model_copy(update={"modality": "rgb+flow"})
    model = Recognizer(spec)
    report = load_swin3d(model, state_dict)
    assert [name.split()[0] for name in report.mismatched] == ["head.weight", "head.bias"]
    assert set(report.missing) == {
        "stem.flow_proj.weight", "memory.input_gates.weight", "memory.input_gates.bias", "memory.hidden_gates.weight",
        "memory_head.weight",
    }  # fmt: skip
    # a projection of two pictures is summed to one; bias tables are interpolated
    assert report.resized[0] == "stem.proj.weight"
    assert all(name.endswith("relative_position_bias_table") for name in report.resized[1:])
    assert len(report.resized) == 1 + 12
    assert torch.equal(model.stem.proj.weight, state_dict["patch_embed.proj.weight"].sum(2, keepdim=True))
    assert "2 mismatched (head.weight [400, 768] for [11, 768]" in str(report)


def test_interpolated_bias_keeps_the_middle(state_dict, published):
    model = Recognizer(published(11, 16, 112, 112, window=(4, 7, 7)))
    load_swin3d(model, state_dict)
    table = model.layers[0].attn.relative_position_bias_table.reshape(7, 13, 13, 3)
    source = state_dict["features.0.0.attn.relative_position_bias_table"].reshape(15, 13, 13, 3)
    assert torch.allclose(table[3], source[7], atol=1e-6)
    assert torch.allclose(table[0], source[0], atol=1e-6)


def test_weights_of_something_else_are_refused(published):
    with pytest.raises(PretrainedError, match=r"swin3d_t"):
        load_swin3d(Recognizer(published(11, 16, 112, 112)), {"conv1.weight": torch.zeros(64, 3, 7, 7)})
