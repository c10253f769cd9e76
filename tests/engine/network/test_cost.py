from __future__ import annotations

import pytest

from engine.network.cost import NORM_MACS, costs, total

torch = pytest.importorskip("torch")
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402


def test_published_video_swin_t(published):
    cost = total(published())
    assert round(cost.parameters / 1e6, 2) == 28.16
    assert round(cost.macs / 1e9, 1) == 87.9


def test_published_memory(published):
    cost = total(published(k=101, memory="blocks", memory_mode="replace"))
    assert round(cost.parameters / 1e6, 2) == 118.18
    cells = [row.macs for row in costs(published(k=101, memory="blocks")) if "memory" in row.module]
    # facts: 72 C^2 h w a step, 2.08 GMAC at 224 px in any stage; 16 steps
    assert [round(macs / 16e9, 2) for macs in cells] == [2.08] * 4


def test_equals_what_torch_counts(form, recognizer, clips):
    model = recognizer(form)
    picture, flow = (torch.from_numpy(x[:, 0]) for x in clips(form, 1))
    normed = []
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_hook(lambda _module, _inputs, y: normed.append(y.numel()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(picture, flow, model.initial_state(1))
    training_only = form.network.memory == "head" and form.network.memory_mode == "replace"
    unused = form.steps * len(form.labels) * model.head.in_features if training_only else 0
    assert total(form).macs == counter.get_total_flops() // 2 + NORM_MACS * sum(normed) - unused
    assert total(form).parameters == sum(p.numel() for p in model.parameters())
