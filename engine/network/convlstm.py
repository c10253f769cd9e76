"""ConvLSTM: the memory that is carried from window to window.

Shi et al., "Convolutional LSTM Network" (2015), without peephole connections. One 3x3 convolution of
(input, hidden) to the four gates, written as two so that the input's half runs once for all steps and
only the hidden half is scanned. With equal channels C: 72 C^2 + 4 C parameters, 72 C^2 h w
multiply-adds a step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]  # hidden and cell, each float32 [N, C, h, w]


class ConvLSTM(nn.Module):
    """A ConvLSTM cell scanned over the steps of consecutive windows."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.input_gates = nn.Conv2d(in_channels, 4 * channels, 3, padding=1)
        self.hidden_gates = nn.Conv2d(channels, 4 * channels, 3, padding=1, bias=False)
        nn.init.xavier_uniform_(self.input_gates.weight)
        nn.init.xavier_uniform_(self.hidden_gates.weight)
        assert self.input_gates.bias is not None
        nn.init.zeros_(self.input_gates.bias)
        with torch.no_grad():  # forget gates start open, so that gradients reach far steps from the beginning
            self.input_gates.bias[channels : 2 * channels] = 1.0

    def forward(self, x: Tensor, state: State, windows: int = 1, reset: Tensor | None = None) -> tuple[Tensor, State]:
        """x [N*L, S, h, w, Cin], L = `windows` consecutive windows of S steps; state before the first.

        reset: bool [N, L], True zeroes the state before that window. Returns the hidden maps
        [N*L, S, h, w, C] and the state after the last step.
        """
        steps, rows, columns = x.shape[1:4]
        maps = x.reshape(-1, rows, columns, x.shape[4]).permute(0, 3, 1, 2)  # [N*L*S, Cin, h, w]
        gates = self.input_gates(maps).reshape(-1, windows * steps, 4 * self.channels, rows, columns)
        hidden, cell = state
        outputs = []
        for step in range(windows * steps):
            if reset is not None and step % steps == 0:
                keep = ~reset[:, step // steps, None, None, None]
                # where, not a product: a state that is not finite must vanish too
                hidden = torch.where(keep, hidden, torch.zeros_like(hidden))
                cell = torch.where(keep, cell, torch.zeros_like(cell))
            i, f, g, o = (gates[:, step] + self.hidden_gates(hidden)).chunk(4, dim=1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            outputs.append(hidden)
        y = torch.stack(outputs, dim=1).permute(0, 1, 3, 4, 2)  # [N, L*S, h, w, C]
        return y.reshape(-1, steps, rows, columns, self.channels), (hidden, cell)
