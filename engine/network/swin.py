"""Video Swin Transformer (Liu et al., 2022): windowed 3-D attention on a token map of fixed size.

Everything that depends only on sizes is made once, when the module is built: which token stands where
in which window (`Partition`), the mask of shifted windows, the index of relative positions. So the
exported graph gathers and multiplies and holds no shape arithmetic.

Tokens travel as [N, S, h, w, C]. Names of parameters follow torchvision's `swin3d_t`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.network.convlstm import ConvLSTM, State

Size3 = tuple[int, int, int]  # steps, rows, columns

MASKED = -100.0  # added to attention between tokens that only the shift made neighbours; exp(-100) is 0 in f32


class Partition(NamedTuple):
    """How a token map of one size is cut into shifted windows of n tokens, padded where it does not divide.

    order: int64 [windows * n], for each place in a window the token that stands there; padding is a
    zero token appended to the map. inverse: int64 [S*h*w], the place of each token. mask: float32
    [windows, 1, n, n] or None where nothing is shifted.
    """

    window: Size3
    order: Tensor
    inverse: Tensor
    padded: bool
    mask: Tensor | None


def partition(size: Size3, window: Size3, shifted: bool) -> Partition:
    """Cut `size` into `window`s. A window larger than the map is clipped to it and not shifted, as published."""
    win: Size3 = tuple(min(w, s) for w, s in zip(window, size, strict=True))  # type: ignore[assignment]
    shift = [w // 2 if shifted and w < s else 0 for w, s in zip(window, size, strict=True)]
    full = [-(-s // w) * w for w, s in zip(win, size, strict=True)]

    tokens = size[0] * size[1] * size[2]
    grid = torch.full(full, tokens)
    grid[: size[0], : size[1], : size[2]] = torch.arange(tokens).reshape(size)
    order = _windows(torch.roll(grid, [-s for s in shift], (0, 1, 2)), win).flatten()
    places = torch.arange(order.numel())[order < tokens]
    inverse = torch.empty(tokens, dtype=torch.int64)
    inverse[order[order < tokens]] = places

    mask = None
    if any(shift):
        # Three regions along each shifted axis; attention stays inside one region.
        region = torch.zeros(full, dtype=torch.int64)
        for axis, (length, w, s) in enumerate(zip(full, win, shift, strict=True)):
            place = torch.arange(length)
            part = (place >= length - w).long() + (place >= length - s).long() if s else torch.zeros_like(place)
            region = region * 3 + part.reshape([-1 if a == axis else 1 for a in range(3)])
        inside = _windows(region, win)  # [windows, n]
        mask = torch.where(inside[:, None, :, None] == inside[:, None, None, :], 0.0, MASKED)
    return Partition(win, order, inverse, order.numel() > tokens, mask)


def _windows(grid: Tensor, window: Size3) -> Tensor:
    """[S, h, w] -> [windows, n]."""
    (a, b, c), (s, h, w) = window, grid.shape
    cut = grid.reshape(s // a, a, h // b, b, w // c, c).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(-1, a * b * c)


def relative_position_index(window: Size3) -> Tensor:
    """int64 [n, n]: for each pair of places in a window, the row of the bias table for their offset."""
    places = torch.stack(torch.meshgrid(*(torch.arange(w) for w in window), indexing="ij")).flatten(1)
    offset = places[:, :, None] - places[:, None, :]  # [3, n, n]
    _, b, c = window
    steps, rows, columns = (d + w - 1 for d, w in zip(offset, window, strict=True))
    index: Tensor = (steps * (2 * b - 1) + rows) * (2 * c - 1) + columns
    return index


class WindowAttention(nn.Module):
    """Multi-head attention inside the windows of one map size, with a bias by relative position.

    A clipped window uses the index of the whole window's first n places, as the published code does:
    exact when only time is clipped, and equal to published weights' meaning in every case.
    """

    order: Tensor
    inverse: Tensor
    mask: Tensor | None
    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: Size3, cut: Partition, dropout: float = 0.0) -> None:
        super().__init__()
        self.channels, self.heads, self.head_dim = channels, heads, channels // heads
        self.places = cut.window[0] * cut.window[1] * cut.window[2]  # n
        self.windows = cut.order.numel() // self.places
        self.padded = cut.padded
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        table = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(table, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        index = relative_position_index(window)[: self.places, : self.places].contiguous()
        self.register_buffer("relative_position_index", index.flatten(), persistent=False)
        self.register_buffer("order", cut.order, persistent=False)
        self.register_buffer("inverse", cut.inverse, persistent=False)
        self.register_buffer("mask", cut.mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, S, h, w, C] -> the same shape."""
        shape, n, k, d = x.shape, self.places, self.heads, self.head_dim
        tokens = x.reshape(-1, shape[1] * shape[2] * shape[3], self.channels)
        if self.padded:
            tokens = F.pad(tokens, (0, 0, 0, 1))
        tokens = tokens.index_select(1, self.order).reshape(-1, n, self.channels)  # [N*windows, n, C]

        # Windows of one map with masks of their own stand beside the heads, so that bias and mask are one constant.
        masked = 1 if self.mask is None else self.windows
        qkv = self.qkv(tokens).reshape(-1, masked, n, 3, k, d).permute(3, 0, 1, 4, 2, 5)
        # [N*windows, heads, n, d], or where masked [N, windows*heads, n, d]
        q, key, v = (part.reshape(-1, masked * k, n, d) for part in (qkv[0], qkv[1], qkv[2]))
        y = torch.softmax((q * d**-0.5) @ key.transpose(2, 3) + self.position_bias(), dim=-1) @ v
        y = self.proj(y.reshape(-1, masked, k, n, d).transpose(2, 3).reshape(-1, n, self.channels))

        y = y.reshape(-1, self.windows * n, self.channels).index_select(1, self.inverse)
        out: Tensor = self.dropout(y.reshape(-1, *shape[1:]))
        return out

    def position_bias(self) -> Tensor:
        """float32 [1, heads, n, n]; with the mask, [1, windows*heads, n, n]."""
        bias = self.relative_position_bias_table.index_select(0, self.relative_position_index)
        bias = bias.reshape(1, self.places, self.places, self.heads).permute(0, 3, 1, 2)
        return bias if self.mask is None else (bias + self.mask).reshape(1, -1, self.places, self.places)


class DropPath(nn.Module):
    """Stochastic depth: in training a clip skips the branch with probability `rate`."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.empty((x.shape[0], 1, 1, 1, 1), dtype=x.dtype, device=x.device).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm and round a residual connection; with a cell, memory between.

    `replace`: the cell's output takes the place of the attention output, as published. `residual`: it is
    added with a weight per channel that starts at zero, so pretrained weights keep their meaning.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window: Size3,
        cut: Partition,
        mlp_ratio: float,
        *,
        memory: str | None = None,
        drop_path: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = int(channels * mlp_ratio)
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window, cut, dropout)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, channels),
            nn.Dropout(dropout),
        )
        self.drop_path = DropPath(drop_path)
        self.cell = ConvLSTM(channels, channels) if memory else None
        self.gamma = nn.Parameter(torch.zeros(channels)) if memory == "residual" else None

    def forward(
        self, x: Tensor, state: State | None, windows: int, reset: Tensor | None
    ) -> tuple[Tensor, State | None]:
        """x [N*L, S, h, w, C] with L = `windows`; state and reset as for ConvLSTM, None without a cell."""
        y = self.attn(self.norm1(x))
        if self.cell is not None:
            assert state is not None
            remembered, state = self.cell(y, state, windows, reset)
            y = remembered if self.gamma is None else y + self.gamma * remembered
        x = x + self.drop_path(y)
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x, state


class PatchMerging(nn.Module):
    """Four neighbours to one token of twice the channels: [N, S, h, w, C] -> [N, S, ceil(h/2), ceil(w/2), 2C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[2:4]
        if rows % 2 or columns % 2:
            x = F.pad(x, (0, 0, 0, columns % 2, 0, rows % 2))
        corners = [x[:, :, r::2, c::2] for c in (0, 1) for r in (0, 1)]  # the published order: rows first
        y: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return y
