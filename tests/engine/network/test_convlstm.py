from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from engine.network.convlstm import ConvLSTM  # noqa: E402

N, L, S, H, W, INPUTS, C = 2, 3, 4, 5, 6, 3, 7


@pytest.fixture
def cell():
    torch.manual_seed(0)
    return ConvLSTM(INPUTS, C).eval()


def state(n=N):
    torch.manual_seed(1)
    return torch.randn(n, C, H, W), torch.randn(n, C, H, W)


def one_convolution(cell, x, hidden, memory):
    """The published form: one convolution of (input, hidden), gates in the order i, f, g, o."""
    weight = torch.cat((cell.input_gates.weight, cell.hidden_gates.weight), dim=1)
    gates = torch.conv2d(torch.cat((x, hidden), dim=1), weight, cell.input_gates.bias, padding=1)
    i, f, g, o = gates.numpy().reshape(len(x), 4, C, H, W).swapaxes(0, 1)
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    memory = sigmoid(f) * memory.numpy() + sigmoid(i) * np.tanh(g)
    return torch.from_numpy(sigmoid(o) * np.tanh(memory)), torch.from_numpy(memory)


@torch.no_grad()
def test_equals_the_published_equations(cell):
    x = torch.randn(N, S, H, W, INPUTS)
    hidden, memory = state()
    y, (last_hidden, last_memory) = cell(x, (hidden, memory))
    for step in range(S):
        hidden, memory = one_convolution(cell, x[:, step].permute(0, 3, 1, 2), hidden, memory)
        assert torch.allclose(y[:, step].permute(0, 3, 1, 2), hidden, atol=1e-6)
    assert torch.allclose(last_hidden, hidden, atol=1e-6)
    assert torch.allclose(last_memory, memory, atol=1e-6)


@torch.no_grad()
def test_reset_zeroes_the_state_before_that_window_alone(cell):
    x = torch.randn(N, L, S, H, W, INPUTS)
    reset = torch.tensor([[False, True, False], [True, False, False]])
    spoilt = state()
    spoilt[1][1] = float("nan")  # the second stream starts with a reset: even this must vanish
    y, _ = cell(x.flatten(0, 1), spoilt, L, reset)
    y = y.reshape(N, L, S, H, W, C)

    zero = (torch.zeros(1, C, H, W),) * 2
    expected, _ = cell(x[0, 1:], zero, L - 1)
    assert torch.allclose(y[0, 1:], expected, atol=1e-6)
    expected, _ = cell(x[1], zero, L)
    assert torch.allclose(y[1], expected, atol=1e-6)
    unreset, _ = cell(x[0, :1], tuple(s[:1] for s in state()))
    assert torch.allclose(y[0, 0], unreset[0], atol=1e-6)


def test_parameters():
    assert sum(p.numel() for p in ConvLSTM(C, C).parameters()) == 72 * C**2 + 4 * C
