from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.spec import ModelSpec

torch = pytest.importorskip("torch")
from engine.network.pretrained import PretrainedError, load_own, load_published  # noqa: E402
from engine.network.recognizer import Recognizer  # noqa: E402

FIXTURE = Path(__file__).parents[1] / "fixtures/swin3d_t_logits.npz"
CLIPS = ("32x224x224", "16x112x112", "12x104x136")


@pytest.fixture(scope="module")
def fill(swin3d_fixture) -> Callable[[str], dict[str, torch.Tensor]]:
    """fill(pattern): the seeded tensors of swin3d_t whose names begin like the pattern."""
    with np.load(FIXTURE) as fixture:
        shapes = json.loads(str(fixture["state_dict"]))

    def make(pattern: str) -> dict[str, torch.Tensor]:
        wanted = {name: tuple(shape) for name, shape in shapes.items() if re.match(pattern, name)}
        return {name: torch.from_numpy(swin3d_fixture.filled(name, shape)) for name, shape in wanted.items()}

    return make


@pytest.fixture(scope="module")
def two_stages(fill):
    """The first two stages of swin3d_t, a norm and a classifier of ten labels: as good, and faster."""
    weights = fill(r"patch_embed|features\.[0-2]\.")
    weights |= {"norm.weight": torch.rand(192), "norm.bias": torch.randn(192)}
    return weights | {"head.weight": torch.randn(10, 192), "head.bias": torch.randn(10)}


@pytest.fixture
def shallow(published):
    def make(k: int = 10, ticks: int = 16, **network: Any) -> ModelSpec:
        return published(k, ticks, 56, 56, **{"depths": (2, 2), "heads": (3, 6)} | network)

    return make


def as_mmaction(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """torchvision's names -> those of a Recognizer3D of mmaction2, as its checkpoints have them."""
    renamed = {}
    for name, tensor in state_dict.items():
        if stage := re.match(r"features\.([0246])\.(\d)\.(.*)", name):
            part = stage[3].replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
            renamed[f"backbone.layers.{int(stage[1]) // 2}.blocks.{stage[2]}.{part}"] = tensor
        elif merging := re.match(r"features\.([135])\.(.*)", name):
            renamed[f"backbone.layers.{int(merging[1]) // 2}.downsample.{merging[2]}"] = tensor
        elif name.startswith("norm."):
            renamed[f"backbone.norm3.{name.removeprefix('norm.')}"] = tensor
        elif name.startswith("head."):
            renamed[f"cls_head.fc_cls.{name.removeprefix('head.')}"] = tensor
        else:
            renamed[f"backbone.{name}"] = tensor
    return renamed


def as_pictures(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A Swin of pictures as its authors publish it: one tick, position bias without time, no prefix."""
    plain = {}
    for name, tensor in as_mmaction(state_dict).items():
        short = name.removeprefix("backbone.").replace("norm3", "norm").replace("cls_head.fc_cls", "head")
        if short == "patch_embed.proj.weight":
            plain[short] = tensor.sum(2)
        elif short.endswith("bias_table"):
            plain[short] = tensor.reshape(15, 13 * 13, -1)[7]
            plain[short.replace("bias_table", "index")] = torch.zeros(49, 49, dtype=torch.int64)
        else:
            plain[short] = tensor
    return plain


def as_timm(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    def name_in_timm(name: str) -> str:
        name = re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
        return name.replace("head.", "head.fc.")

    return {name_in_timm(name): tensor for name, tensor in as_pictures(state_dict).items()}


def logits(model: Recognizer, picture: np.ndarray) -> torch.Tensor:
    height, width = picture.shape[1:3]
    model.eval()
    with torch.inference_mode():
        flow = torch.zeros(1, 0, 2, height, width, dtype=torch.float16)
        return model(torch.from_numpy(picture)[None], flow, model.initial_state(1))[0][0]


@pytest.mark.parametrize("clip", CLIPS)
def test_logits_equal_torchvision(clip, fill, published, swin3d_fixture):
    state_dict = fill("")
    size = tuple(map(int, clip.split("x")))
    model = Recognizer(published(400, *size))
    report = load_published(model, state_dict)
    assert len(report.loaded) == len(state_dict)
    assert (report.adapted, report.mismatched, report.missing, report.unused) == ({}, [], [], [])
    assert report.share == 1
    with np.load(FIXTURE) as fixture:
        expected = fixture[clip]
    # per-step logits of one linear layer: their mean is the published logit of the mean
    assert np.abs(logits(model, swin3d_fixture.clip(size)).mean(0).numpy() - expected).max() < 1e-4


def test_the_same_under_mmactions_names(two_stages, shallow):
    once, again = (Recognizer(shallow()) for _ in range(2))
    load_published(once, two_stages)
    report = load_published(again, {f"module.{name}": tensor for name, tensor in as_mmaction(two_stages).items()})
    assert (len(report.loaded), report.missing, report.unused) == (len(two_stages), [], [])
    assert all(torch.equal(tensor, once.state_dict()[name]) for name, tensor in again.state_dict().items())


@pytest.mark.parametrize("renamed", [as_pictures, as_timm])
def test_inflated_weights_see_a_still_clip_as_the_picture(renamed, two_stages, shallow, swin3d_fixture):
    """A window of one token in time is a Swin of pictures; the inflated one must say the same at every step."""
    picture, clip = Recognizer(shallow(ticks=2, window=(1, 7, 7))), Recognizer(shallow(ticks=32))
    for model in (picture, clip):
        report = load_published(model, renamed(two_stages))
        assert (report.mismatched, report.missing, report.unused) == ([], [], [])
        assert report.adapted["stem.proj.weight"] == "spread over 2 ticks"
    assert len(report.adapted) == 1 + 4  # projection, position biases
    seen = swin3d_fixture.clip((1, 56, 56))
    (once,), steps = logits(picture, seen.repeat(2, axis=0)), logits(clip, seen.repeat(32, axis=0))
    assert once.std() > 0.1
    assert (steps - once).abs().max() < 1e-4


def test_what_does_not_fit_is_reported(two_stages, shallow):
    spec = shallow(4, memory="head", memory_mode="residual", window=(6, 5, 5))
    model = Recognizer(spec.model_copy(update={"modality": "rgb+flow"}))
    report = load_published(model, two_stages)
    assert [name.split()[0] for name in report.mismatched] == ["head.weight", "head.bias"]
    assert set(report.missing) == {
        "memory.input_gates.weight", "memory.input_gates.bias", "memory.hidden_gates.weight", "memory_head.weight",
    }  # fmt: skip
    summed = two_stages["patch_embed.proj.weight"].sum(2)
    assert torch.equal(model.stem.proj.weight, summed[:, :, None])
    assert torch.allclose(model.stem.flow_proj.weight, summed.mean(1)[:, None, None].expand(-1, 2, -1, -1, -1))
    assert "adapted, fitted to windows of 6x5x5 tokens: layers.0.attn.relative_position_bias_table," in str(report)
    assert "begins anew, other shape: head.weight [10, 192] for [4, 192]" in str(report)


def test_a_classifier_of_k_labels_serves_k_actions(two_stages, shallow):
    model = Recognizer(shallow(11))
    none = model.head.weight[10].clone()
    report = load_published(model, two_stages)
    assert "in order" in report.adapted["head.weight"]
    assert torch.equal(model.head.weight[:10], two_stages["head.weight"])
    assert torch.equal(model.head.weight[10], none)


def test_cells_of_the_published_swin_clstm(small):
    """The published cell: one convolution of (input, hidden), its gates in the order i, f, o, g."""
    spec = small("rgb", "patch", "blocks", "replace")
    model, donor = Recognizer(spec).eval(), Recognizer(spec)
    names = {0: "layers.0.blocks.0", 2: "layers.1.blocks.0", 3: "layers.1.blocks.1", 5: "layers.2.blocks.0",
             7: "layers.3.blocks.0", 8: "layers.3.blocks.1"}  # fmt: skip
    weights = {"cls_head.fc_cls.weight": donor.head.weight, "cls_head.fc_cls.bias": donor.head.bias}
    for name, tensor in donor.state_dict().items():
        if ".cell." in name or name.startswith("head"):
            continue
        index = int(name.split(".")[1]) if name.startswith("layers.") else None
        if name.startswith("stem."):
            published = name.replace("stem.", "patch_embed.")
        elif index is None:
            published = name.replace("norm.", "norm3.")
        elif index in names:
            published = name.replace(f"layers.{index}", names[index])
            published = published.replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
        else:
            published = name.replace(f"layers.{index}", f"layers.{ {1: 0, 4: 1, 6: 2}[index] }.downsample")
        weights[f"backbone.{published}"] = tensor
    torch.manual_seed(1)
    cells = {i: torch.nn.Conv2d(2 * c, 4 * c, 3, padding=1) for i, c in ((2, 32), (3, 32), (7, 128), (8, 128))}
    for i, convolution in cells.items():
        for part, tensor in convolution.state_dict().items():
            weights[f"backbone.{names[i]}.conv_lstm.cell_list.0.conv.{part}"] = tensor
    report = load_published(model, weights)
    assert (report.missing, report.unused, report.mismatched) == ([], [], [])
    assert len(report.adapted) == 4 * 3

    x, hidden, cell = torch.randn(3, 1, 32, 4, 3)
    gates = cells[3](torch.cat((x, hidden), dim=1)).chunk(4, dim=1)
    i, f, o = (torch.sigmoid(gate) for gate in gates[:3])
    expected_cell = f * cell + i * torch.tanh(gates[3])
    with torch.inference_mode():
        y, (_, new_cell) = model.layers[3].cell(x.permute(0, 2, 3, 1)[:, None], (hidden, cell))
    assert torch.allclose(new_cell, expected_cell, atol=1e-5)
    assert torch.allclose(y[:, 0].permute(0, 3, 1, 2), o * torch.tanh(expected_cell), atol=1e-5)


def test_interpolated_bias_keeps_the_middle(two_stages, shallow):
    model = Recognizer(shallow(window=(4, 7, 7)))
    load_published(model, two_stages)
    table = model.layers[0].attn.relative_position_bias_table.reshape(7, 13, 13, 3)
    source = two_stages["features.0.0.attn.relative_position_bias_table"].reshape(15, 13, 13, 3)
    assert torch.allclose(table[3], source[7], atol=1e-6)
    assert torch.allclose(table[0], source[0], atol=1e-6)


def test_own_weights_with_other_labels_keep_the_rows_of_the_same_labels(small, recognizer):
    source = recognizer(small(), seed=1)
    spec = small().model_copy(update={"labels": ("new", "action-2", "none")})
    model = recognizer(spec, seed=2)
    fresh = model.head.weight[0].clone()
    report = load_own(model, source.state_dict(), source.spec.labels, source.spec.network.window)
    assert (report.mismatched, report.missing, report.unused, report.share) == ([], [], [], 1.0)
    assert set(report.adapted) == {"head.weight", "head.bias", "memory_head.weight"}
    assert set(report.adapted.values()) == {"rows of the same label (action-2, none)"}
    assert torch.equal(model.head.weight, torch.stack((fresh, *source.head.weight[[2, 4]])))
    assert torch.equal(model.stem.picture[1].running_mean, source.stem.picture[1].running_mean)


def test_own_weights_without_flow_make_flow_from_pictures(small, recognizer):
    source = recognizer(small("rgb", "patch"), seed=1)
    model = recognizer(small("rgb+flow", "patch"), seed=2)
    report = load_own(model, source.state_dict(), source.spec.labels, source.spec.network.window)
    assert (report.missing, report.mismatched, report.unused) == ([], [], [])
    assert report.adapted["stem.flow_proj.weight"] == "made from the projection of pictures"


def test_another_network_is_refused(small, recognizer, two_stages):
    narrow = small("rgb", "patch", memory="blocks")
    with pytest.raises(PretrainedError, match=r"only \d+% of the backbone of model 'small' is in it"):
        load_own(recognizer(narrow), recognizer(small("rgb", "conv")).state_dict(), None, None)
    with pytest.raises(PretrainedError, match=r"only 0% .*stem\.proj\.weight \[96, 3, 2, 4, 4\] for \[16,"):
        load_published(recognizer(narrow), two_stages)
    with pytest.raises(PretrainedError, match=r"conv1\.weight, \.\.\.\) is of a network known here"):
        load_published(recognizer(narrow), {"conv1.weight": torch.zeros(64, 3, 7, 7)})
