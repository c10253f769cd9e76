"""What a recognizer costs, from its spec alone: multiply-adds per window and parameters, module by module.

Counted are convolutions, linear layers and the two products of attention, on the padded map where windows
do not divide it, and LayerNorm as two multiply-adds an element (normalise, scale): the convention in which
Video Swin-T at 32x224x224 is 87.9 G. BatchNorm folds into its convolution; activations and softmax are not
counted. Needs no torch.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from engine.spec import MEMORY_STAGES, ModelSpec

PATCH = 4
NORM_MACS = 2  # an element


class Cost(NamedTuple):
    """One module's share. shape: what it puts out for one window, [S, h, w, C]."""

    module: str
    shape: tuple[int, ...]
    macs: int
    parameters: int


def costs(spec: ModelSpec) -> list[Cost]:
    """All modules in the order in which a window passes them."""
    rows = _stem(spec)
    net = spec.network
    for stage, (depth, heads, (h, w)) in enumerate(zip(net.depths, net.heads, spec.maps, strict=True)):
        channels = spec.channels(stage)
        shape = (spec.steps, h, w, channels)
        if stage:
            # norm of 4 neighbours of C/2 channels, then a linear layer to C
            merging = _linear(f"stage {stage + 1} merging", shape, 2 * channels, bias=False, extra=4 * channels)
            rows.append(merging._replace(macs=merging.macs + NORM_MACS * 2 * prod(shape)))
        for block in range(depth):
            rows += _block(spec, f"stage {stage + 1} block {block + 1}", shape, heads, memory=stage in MEMORY_STAGES)
    channels = shape[-1]
    rows.append(Cost("norm", shape, NORM_MACS * prod(shape), 2 * channels))
    labels = len(spec.labels)
    if net.memory == "head":
        memory, *_ = spec.states
        rows.append(_cell("memory", shape, memory.channels))
        bias = net.memory_mode == "replace"
        rows.append(_linear("memory head", (spec.steps, labels), memory.channels, bias))
    if net.memory == "head" and net.memory_mode == "replace":
        # reads the features for the auxiliary loss in training only
        rows.append(Cost("head (training)", (spec.steps, labels), 0, (channels + 1) * labels))
    else:
        rows.append(_linear("head", (spec.steps, labels), channels))
    return rows


def total(spec: ModelSpec) -> Cost:
    """The whole recognizer: one window's multiply-adds, all parameters."""
    rows = costs(spec)
    return Cost("total", (spec.steps, len(spec.labels)), sum(r.macs for r in rows), sum(r.parameters for r in rows))


def _stem(spec: ModelSpec) -> list[Cost]:
    net, (h, w) = spec.network, spec.maps[0]
    pictures, flows = len(spec.pattern.pictures), len(spec.pattern.flows)
    if net.stem == "patch":
        shape = (spec.steps, h, w, net.embed_dim)
        rows = [_convolution("stem pictures", shape, 3, (pictures, PATCH, PATCH), extra=net.embed_dim)]
        if flows:
            rows.append(_convolution("stem flow", shape, 2, (flows, PATCH, PATCH)))
        return [*rows, Cost("stem norm", shape, NORM_MACS * prod(shape), 2 * net.embed_dim)]
    first, *others = net.stem_channels
    h, w = -(-spec.height // 2), -(-spec.width // 2)
    flow_channels = first // 2 if flows else 0
    shape = (spec.steps, h, w, first - flow_channels)
    rows = [_convolution("stem pictures", shape, 3, (pictures, 3, 3), extra=2 * shape[-1])]
    if flows:
        shape = (spec.steps, h, w, flow_channels)
        rows.append(_convolution("stem flow", shape, 2, (flows, 3, 3), extra=2 * flow_channels))
    for i, (narrow, wide) in enumerate(zip(net.stem_channels, others, strict=False)):
        h, w = -(-h // 2), -(-w // 2)
        rows.append(_convolution(f"stem {i + 1}", (spec.steps, h, w, wide), narrow, (3, 3, 3), extra=2 * wide))
    return rows


def _block(spec: ModelSpec, name: str, shape: tuple[int, int, int, int], heads: int, memory: bool) -> list[Cost]:
    net, channels = spec.network, shape[-1]
    window = [min(w, s) for w, s in zip(net.window, shape, strict=False)]
    padded = prod(-(-s // w) * w for w, s in zip(window, shape, strict=False))
    table = prod(2 * w - 1 for w in net.window) * heads
    hidden = int(channels * net.mlp_ratio)
    rows = [
        Cost(
            f"{name} attention",
            shape,
            NORM_MACS * prod(shape) + padded * (4 * channels**2 + 2 * prod(window) * channels),
            4 * channels**2 + 4 * channels + table + 2 * channels,
        )
    ]
    if memory and net.memory == "blocks":
        cell = _cell(f"{name} memory", shape, channels)
        gamma = channels if net.memory_mode == "residual" else 0
        rows.append(cell._replace(parameters=cell.parameters + gamma))
    parameters = 2 * channels * hidden + hidden + channels + 2 * channels
    rows.append(Cost(f"{name} mlp", shape, prod(shape) * (NORM_MACS + 2 * hidden), parameters))
    return rows


def _cell(name: str, shape: tuple[int, ...], channels: int) -> Cost:
    gates = _convolution(name, (*shape[:-1], 4 * channels), shape[-1] + channels, (1, 3, 3), extra=4 * channels)
    return gates._replace(shape=(*shape[:-1], channels))


def _convolution(name: str, shape: tuple[int, ...], inputs: int, kernel: tuple[int, ...], extra: int = 0) -> Cost:
    """extra: parameters besides the kernel (bias, norm)."""
    weights = inputs * prod(kernel)
    return Cost(name, shape, prod(shape) * weights, weights * shape[-1] + extra)


def _linear(name: str, shape: tuple[int, ...], inputs: int, bias: bool = True, extra: int = 0) -> Cost:
    return Cost(name, shape, prod(shape) * inputs, (inputs + bias) * shape[-1] + extra)
