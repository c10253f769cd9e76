from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from engine.network.recognizer import Recognizer  # noqa: E402

WINDOWS = 3


def tensors(clips):
    return torch.from_numpy(clips.picture), torch.from_numpy(clips.flow)


@torch.no_grad()
def test_window_by_window_equals_one_call(form, recognizer, clips):
    model = recognizer(form)
    picture, flow = tensors(clips(form, 2, WINDOWS))
    whole = model.forward_sequence(picture, flow)
    assert whole.logits.shape == (2, WINDOWS, form.steps, len(form.labels))

    state = model.initial_state(2)
    for window in range(WINDOWS):
        logits, state = model(picture[:, window], flow[:, window], state)
        assert torch.allclose(logits, whole.logits[:, window], atol=1e-5)
    assert [s.shape[1:] for s in state] == [shape for shape in form.states for _ in ("h", "c")]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(state, whole.state, strict=True))


@torch.no_grad()
def test_memory_matters_and_reset_forgets(form, recognizer, clips):
    model = recognizer(form)
    picture, flow = tensors(clips(form, 1, 2))
    carried = model.forward_sequence(picture, flow).logits[:, 1]
    alone = model.forward_sequence(picture[:, 1:], flow[:, 1:]).logits[:, 0]
    reset = model.forward_sequence(picture, flow, reset=torch.tensor([[False, True]])).logits[:, 1]
    assert torch.allclose(alone, reset, atol=1e-5)
    assert ((carried - alone).abs().max() > 1e-3) == bool(form.states)


@pytest.mark.parametrize("memory", ["head", "blocks"])
@torch.no_grad()
def test_a_batch_equals_each_alone_and_nan_stays_in_its_row(memory, small, recognizer, clips):
    spec = small(memory=memory, stem="patch")
    model = recognizer(spec)
    picture, flow = (x[:, 0] for x in tensors(clips(spec, 4)))
    state = [torch.randn_like(s) for s in model.initial_state(4)]
    flow[2, 0, 0, 3, 3] = float("nan")
    state[1][3, 0, 0, 0] = float("inf")
    logits, new_state = model(picture, flow, state)
    for row in (0, 1):
        alone, alone_state = model(picture[row : row + 1], flow[row : row + 1], [s[row : row + 1] for s in state])
        assert torch.allclose(logits[row], alone[0], atol=1e-5)
        assert all(torch.allclose(a[row], b[0], atol=1e-5) for a, b in zip(new_state, alone_state, strict=True))
    assert not logits[2].isfinite().all()
    assert logits[:2].isfinite().all()


def test_residual_memory_starts_silent(small):
    """Pretrained weights keep their meaning until memory has learned something."""
    for memory in ("head", "blocks"):
        torch.manual_seed(0)
        model = Recognizer(small(memory=memory)).eval()
        bare = Recognizer(small(memory=memory).model_copy(update={"network": model.spec.network.model_copy(
            update={"memory": "none"})})).eval()  # fmt: skip
        bare.load_state_dict(model.state_dict(), strict=False)
        picture = torch.randint(0, 256, (1, 4, 40, 24, 3), dtype=torch.uint8)
        flow = torch.randn(1, 4, 2, 40, 24)
        state = [torch.randn_like(s) for s in model.initial_state(1)]
        with torch.no_grad():
            assert torch.equal(model(picture, flow, state)[0], bare(picture, flow, [])[0])


def test_learns_a_batch_by_heart(small, clips):
    spec = small()
    torch.manual_seed(0)
    model = Recognizer(spec, drop_path=0.1, dropout=0.1)
    picture, flow = tensors(clips(spec, 4, 2))
    target = torch.arange(4)[:, None, None].expand(4, 2, spec.steps)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        logits, stateless, _ = model.forward_sequence(picture, flow)
        loss = sum(torch.nn.functional.cross_entropy(x.flatten(0, 2), target.flatten()) for x in (logits, stateless))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        predicted = model.forward_sequence(picture, flow).logits.argmax(-1)
    assert torch.equal(predicted, target)
