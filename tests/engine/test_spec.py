from __future__ import annotations

import pytest
from pydantic import ValidationError

from engine.spec import ModelSpec, NetworkSpec


@pytest.mark.parametrize(
    ("modality", "ticks", "pictures", "flows"),
    [
        ("rgb", 4, (0, 1, 2, 3), ()),
        ("rgb+flow", 6, (0, 2, 4), (0, 2, 4)),
        ("lessrgb+flow", 8, (0, 4), (0, 2, 4, 6)),
    ],
)
def test_ticks_of_each_modality(modality, ticks, pictures, flows, small):
    spec = small(modality).model_copy(update={"ticks": ticks})
    assert spec.picture_ticks == pictures
    assert spec.flow_ticks == flows


def test_tensors(small):
    spec = small()
    assert [t.name for t in spec.inputs] == ["picture", "flow", "state_0_h", "state_0_c"]
    assert [t.name for t in spec.outputs] == ["logits", "new_state_0_h", "new_state_0_c"]
    assert spec.inputs[0].shape == (4, 40, 24, 3)
    assert spec.inputs[1].shape == (4, 2, 40, 24)
    assert spec.inputs[2].shape == (12, 5, 3)
    assert [t.name for t in small("rgb", memory="none").inputs] == ["picture"]


def test_published_maps_and_states(published):
    spec = published(memory="blocks")
    assert spec.maps == ((56, 56), (28, 28), (14, 14), (7, 7))
    assert [tuple(s) for s in spec.states] == [(192, 28, 28)] * 2 + [(768, 7, 7)] * 2
    assert published(height=104, width=136).maps == ((26, 34), (13, 17), (7, 9), (4, 5))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"depths": (2, 2)}, "depths has 2 stages and heads has 4"),
        ({"heads": (3, 6, 12, 36)}, "heads must divide"),
        ({"stem": "conv", "stem_channels": (24, 48)}, "must end in embed_dim"),
        ({"stem_channels": (96,)}, "belongs to stem: conv"),
        ({"memory": "blocks", "depths": (2,), "heads": (3,)}, "needs four stages"),
    ],
)
def test_networks_that_cannot_be(network, message):
    with pytest.raises(ValidationError, match=message):
        NetworkSpec(**network)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ("walk", "run")}, "end in 'none'"),
        ({"labels": ("walk", "walk", "none")}, "differ"),
        ({"labels": ("walk/run", "none")}, "'walk/run' must be letters"),
        ({"labels": ("-walk", "none")}, "'-walk' must be"),
        ({"labels": ("", "none")}, "must be letters"),
        ({"ticks": 7}, "multiple of 2"),
        ({"height": 42}, "multiple of 8"),
        ({"wieghts": 1}, "Extra inputs"),
    ],
)
def test_models_that_cannot_be(change, message, small):
    with pytest.raises(ValidationError, match=message):
        ModelSpec.model_validate(small().model_dump() | change)
