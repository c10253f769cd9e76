"""Tensors of another network in the shapes of this one: inflated in time, interpolated, reordered, or not at all.

A function returns None where there is no right way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.network.swin import Size3


def picture_kernel(source: Tensor, target: Tensor) -> Tensor | None:
    """A projection of patches, [C, 3, k, k] or [C, 3, ticks, k, k], for the ticks of `target` [C, 3, Tp, k, k].

    Its sum over time, spread evenly over the target's ticks: a still picture gives what it gave before (Carreira
    and Zisserman, "Quo Vadis, Action Recognition?", 2017).
    """
    still = source.sum(dim=2) if source.ndim == 5 else source
    if still.ndim != 4 or target.shape != (*still.shape[:2], target.shape[2], *still.shape[2:]):
        return None
    return still.unsqueeze(2).expand(target.shape) / target.shape[2]


def flow_kernel(source: Tensor, target: Tensor) -> Tensor | None:
    """A projection of pictures for flow, `target` [C, 2, Tf, k, k]: its mean over the colours, spread over ticks.

    Wang et al., "Temporal Segment Networks" (2016). Where nothing moves flow adds nothing.
    """
    still = source.sum(dim=2) if source.ndim == 5 else source
    if still.ndim != 4 or target.shape != (still.shape[0], *target.shape[1:3], *still.shape[2:]):
        return None
    return still.mean(dim=1)[:, None, None].expand(target.shape) / target.shape[2]


def bias_table(source: Tensor, target: Tensor, window: Size3, source_window: Size3 | None = None) -> Tensor | None:
    """Position biases [offsets, heads] of `source_window` (None: found from their number) for `window`.

    A table of pictures is repeated over time; other sizes are interpolated, so that the middle and the ends stay.
    """
    if source.ndim != 2 or source.shape[1] != target.shape[1]:
        return None
    sizes = [2 * w - 1 for w in window]
    offsets = _offsets(source.shape[0], sizes[1]) if source_window is None else [2 * w - 1 for w in source_window]
    if offsets is None or source.shape[0] != offsets[0] * offsets[1] * offsets[2]:
        return None
    grid = source.T.reshape(1, -1, *offsets)
    grid = F.interpolate(grid.float(), size=sizes, mode="trilinear", align_corners=True)
    return grid.reshape(source.shape[1], -1).T


def _offsets(rows: int, likely: int) -> list[int] | None:
    """Steps, rows and columns of a table of so many rows: windows are square, `likely` wide or else as wide as fits."""
    widest = int(rows**0.5)
    for side in (likely, *range(widest - (widest + 1) % 2, 0, -2)):
        steps, rest = divmod(rows, side * side)
        if not rest and steps % 2:
            return [steps, side, side]
    return None


def gates(source: Tensor, name: str, target: Tensor) -> Tensor | None:
    """A part of a published cell's joint convolution, for `name`: `input_gates.*` or `hidden_gates.weight`.

    source: weight [4C, Cin + C, 3, 3] or bias [4C], gates in the order i, f, o, g; here it is i, f, g, o.
    """
    if source.shape[0] % 4:
        return None
    i, f, o, g = source.chunk(4)
    ordered = torch.cat((i, f, g, o))
    if ordered.ndim == 4:
        inputs = ordered.shape[1] - ordered.shape[0] // 4
        ordered = ordered[:, :inputs] if name.startswith("input_gates") else ordered[:, inputs:]
    return ordered if ordered.shape == target.shape else None


def label_rows(
    source: Tensor, target: Tensor, labels: Sequence[str], source_labels: Sequence[str]
) -> tuple[Tensor, list[str]] | None:
    """A classifier's rows by label: `target` with the rows of labels that both know, and those labels."""
    if source.shape[1:] != target.shape[1:] or source.shape[0] != len(source_labels):
        return None
    shared = [label for label in labels if label in source_labels]
    fitted = target.clone()
    for label in shared:
        fitted[labels.index(label)] = source[source_labels.index(label)]
    return (fitted, shared) if shared else None
