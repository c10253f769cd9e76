from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.spec import NONE_LABEL, ModelSpec
from train.config import TrainConfig, TrainError
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


def test_drawn_sequences_name_what_is_drawn(spec: ModelSpec) -> None:
    maker = SequenceMaker(spec, [], [])
    drawn = [maker.drawn(np.random.default_rng(seed), 24, 0.3) for seed in range(8)]
    assert {int(label) for one in drawn for label in one.label} == {0, 1, 2}
    for one in drawn:
        assert one.pictures.shape == (24, spec.height * 3 // 2, spec.width)
        assert (np.diff(one.pts_s) > 0).all()
