from __future__ import annotations

import sys
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from engine.network.recognizer import Recognizer
from engine.spec import NONE_LABEL, FlowSpec, Modality, ModelSpec
from train.config import TrainConfig, TrainError
from train.data.config import MixConfig
from train.data.sequences import ONSET_WEIGHTS, Sequence, SequenceDataset, SequenceMaker


def test_items_have_the_networks_shapes(config: TrainConfig) -> None:
    spec, dataset = config.model, SequenceDataset(config)
    for step, windows in ((0, 1), (3, 3)):
        item = dataset[step, 0]
        assert item["picture"].shape == (windows, 2, spec.height, spec.width, 3)
        assert item["flow"].shape == (windows, 2, 2, spec.height, spec.width)
        assert item["target"].shape == item["weight"].shape == (windows, spec.steps)
        assert item["picture"].dtype == torch.uint8
        assert item["flow"].dtype == torch.float16
        assert int(item["target"].max()) <= spec.labels.index(NONE_LABEL)


@pytest.mark.parametrize(
    ("modality", "method", "shape"),
    [("rgb", "dis", (4, 0)), ("lessrgb+flow", "dis", (1, 2)), ("rgb+flow", "tvl1", (2, 2))],
)
def test_every_modality_and_flow_goes_the_same_way(
    config: TrainConfig, modality: Modality, method: Literal["dis", "tvl1"], shape: tuple[int, int]
) -> None:
    spec = config.model.model_copy(update={"modality": modality, "flow": FlowSpec(method=method)})
    item = SequenceDataset(config.model_copy(update={"model": spec}))[0, 0]
    assert (item["picture"].shape[1], item["flow"].shape[1]) == shape
    out = Recognizer(spec).forward_sequence(item["picture"][None], item["flow"][None])
    assert out.logits.shape == (1, *item["target"].shape, len(spec.labels))
    if method == "tvl1":
        assert 0.2 < float(item["flow"].abs().max()) <= spec.flow.clip_px


def test_without_scikit_image_training_on_tvl1_is_refused(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.registration", None)
    spec = config.model.model_copy(update={"flow": FlowSpec(method="tvl1")})
    with pytest.raises(TrainError, match=r"model\.flow: .* needs scikit-image: pip install"):
        SequenceDataset(config.model_copy(update={"model": spec}))


def test_an_item_depends_on_its_place_and_the_seed_alone(config: TrainConfig) -> None:
    one, other = SequenceDataset(config), SequenceDataset(config)
    other[1, 0]
    assert all(torch.equal(a, b) for a, b in zip(one[2, 1].values(), other[2, 1].values(), strict=True))
    assert not torch.equal(one[2, 0]["picture"], one[2, 1]["picture"])


def test_held_out_groups_are_not_trained_on(config: TrainConfig) -> None:
    data = config.data.model_copy(update={"exclude_groups": ("anna",)})
    dataset = SequenceDataset(config.model_copy(update={"data": data}))
    assert {ref.group for ref in dataset.refs} == {"ben"}


@pytest.mark.parametrize(("held_out", "told"), [(("carla",), "no group"), (("anna", "ben"), "no clip is left")])
def test_groups_that_make_no_sense_are_told(config: TrainConfig, held_out: tuple[str, ...], told: str) -> None:
    data = config.data.model_copy(update={"exclude_groups": held_out})
    with pytest.raises(TrainError, match=told):
        SequenceDataset(config.model_copy(update={"data": data}))


def sequence(spec: ModelSpec, labels: list[int]) -> Sequence:
    n = len(labels)
    pictures = np.random.default_rng(0).integers(16, 235, (n, spec.height * 3 // 2, spec.width)).astype(np.uint8)
    return Sequence(pictures, np.arange(n) / spec.rate_hz, np.array(labels))


def test_steps_after_a_change_of_label_weigh_less(spec: ModelSpec) -> None:
    item = SequenceMaker(spec, [], []).tensors(np.random.default_rng(0), sequence(spec, [0] * 4 + [1] * 8), 0.0)
    assert item["target"].flatten().tolist() == [0, 0, 1, 1, 1, 1]
    assert item["weight"].flatten().tolist() == pytest.approx([1, 1, *ONSET_WEIGHTS, 1, 1])


def test_skipped_windows_are_not_asked_for(spec: ModelSpec) -> None:
    item = SequenceMaker(spec, [], []).tensors(np.random.default_rng(0), sequence(spec, [0] * 16), 1.0)
    asked = (item["target"] >= 0).all(dim=1)
    assert asked.sum() == 1
    assert bool(asked[0])


def test_four_skipped_windows_in_a_row_zero_the_state_as_live(spec: ModelSpec) -> None:
    """Each window's luma is its number: which were skipped can be told from the order of the rest."""
    plain = sequence(spec, [0] * 4 * 40)
    luma = np.repeat(16 + 5 * np.arange(40), 4).astype(np.uint8)
    plain.pictures[:, : spec.height] = luma[:, None, None]
    plain.pictures[:, spec.height :] = 128
    item = SequenceMaker(spec, [], []).tensors(np.random.default_rng(0), plain, 0.7)
    kept = (item["target"] >= 0).all(dim=1)
    number = item["picture"][kept].float().mean(dim=(1, 2, 3, 4)).div(255 / 219 * 5).round()
    gaps = number.diff() - 1
    assert gaps.max() >= 4 > gaps.min()
    assert item["reset"][kept].tolist() == [False, *(gaps >= 4).tolist()]
    assert not item["reset"][~kept].any()


def test_drawn_sequences_name_what_is_drawn(spec: ModelSpec) -> None:
    maker = SequenceMaker(spec, [], [])
    drawn = [maker.drawn(np.random.default_rng(seed), 24, 0.3) for seed in range(8)]
    assert {int(label) for one in drawn for label in one.label} == {0, 1, 2}
    for one in drawn:
        assert one.pictures.shape == (24, spec.height * 3 // 2, spec.width)
        assert (np.diff(one.pts_s) > 0).all()


def test_clips_of_none_are_taken_as_those_of_an_action_are(spec: ModelSpec, config: TrainConfig) -> None:
    refs = SequenceDataset(config).refs
    acted = [ref for ref in refs if ref.group == "anna"]
    idle = [replace(ref, label=NONE_LABEL) for ref in refs if ref.group == "ben"]
    maker = SequenceMaker(spec, acted, idle)
    mix = MixConfig(none=0, none_clips=0.5, action_s=None, freeze=0)
    labels = []
    for seed in range(40):
        maker.used.clear()
        sequence = maker.filmed(np.random.default_rng(seed), 8, mix)
        (label,) = set(sequence.label.tolist())
        labels.append(label)
        (used,) = maker.used
        assert (used in idle) == (spec.labels[label] == NONE_LABEL)
    assert 10 < labels.count(spec.labels.index(NONE_LABEL)) < 30


def test_clips_of_none_that_do_not_exist_are_told(config: TrainConfig) -> None:
    phase = config.phases[0].model_copy(update={"mix": MixConfig(none_clips=0.5)})
    with pytest.raises(TrainError, match=r"mix\.none_clips: there is no clip"):
        SequenceDataset(config.model_copy(update={"phases": (phase,)}))
    with pytest.raises(ValueError, match="shares of one whole"):
        MixConfig(none=0.6, none_clips=0.5)
