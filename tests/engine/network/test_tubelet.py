from __future__ import annotations

import pytest

from engine.spec import TOKEN_PATTERNS

torch = pytest.importorskip("torch")
from engine.network.tubelet import ConvStem, Normalisation, PatchStem  # noqa: E402

MODALITIES = tuple(TOKEN_PATTERNS)


def test_normalisation():
    picture = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1, 1).expand(1, 2, 4, 5, 3)
    flow = torch.full((1, 2, 2, 4, 5), 1.5, dtype=torch.float16)
    pixels, displacement = Normalisation()(picture, flow)
    assert pixels.shape == (1, 3, 2, 4, 5)
    assert pixels[0, :, 0, 0, 0].tolist() == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    assert pixels[0, :, 1, 0, 0].tolist() == pytest.approx([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])
    assert displacement.shape == (1, 2, 2, 4, 5)
    assert displacement.dtype == torch.float32
    assert displacement.unique().tolist() == [1.5]


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize(("stem", "reach"), [("patch", 0), ("conv", 1)])
@torch.no_grad()
def test_a_tick_reaches_its_own_token(modality, stem, reach, small, clips):
    """Every picture and flow changes its own token, and with convolutions `reach` neighbours in time."""
    spec = small(modality, stem)
    torch.manual_seed(0)
    module = (PatchStem if stem == "patch" else ConvStem)(spec).eval()
    picture, flow = Normalisation()(*(torch.from_numpy(x[:, 0]) for x in clips(spec, 1)))
    before = module(picture, flow)
    assert before.shape == (1, spec.steps, *spec.maps[0], spec.channels(0))

    for inputs, offsets in ((picture, spec.pattern.pictures), (flow, spec.pattern.flows)):
        for i in range(inputs.shape[2]):
            step = i // len(offsets)
            inputs[:, :, i] += 1
            changed = (module(picture, flow) - before).abs().amax((0, 2, 3, 4)) > 1e-6
            inputs[:, :, i] -= 1
            near = [abs(step - s) <= reach for s in range(spec.steps)]
            assert changed.tolist() == near
