"""Recognizer: the whole network, windows and states in, logits and new states out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.network.convlstm import ConvLSTM, State
from engine.network.swin import Block, PatchMerging, Size3, partition
from engine.network.tubelet import ConvStem, Normalisation, PatchStem
from engine.spec import MEMORY_STAGES, ModelSpec


class SequenceResult(NamedTuple):
    """logits, stateless: float32 [N, L, S, K+1]; stateless is read from the features without head memory."""

    logits: Tensor
    stateless: Tensor
    state: list[Tensor]


class Recognizer(nn.Module):
    """Stem, Video Swin stages, memory, and a classifier for every step.

    With `memory: head` a ConvLSTM runs over the last feature map. `head` reads the pooled features and
    `memory_head` the pooled hidden maps: `residual` adds the two (memory_head starts at zero, so a
    pretrained head keeps its meaning), `replace` takes memory_head alone, and `head` then only serves as
    an auxiliary loss in training.

    State travels as a flat list [state_0_h, state_0_c, state_1_h, ...], each float32 [N, C, h, w] (see
    `ModelSpec.states`). drop_path, dropout: rates for training.
    """

    def __init__(self, spec: ModelSpec, drop_path: float = 0.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.spec = spec
        net = spec.network
        self.normalisation = Normalisation()
        self.stem: nn.Module = PatchStem(spec) if net.stem == "patch" else ConvStem(spec)

        rates = iter(torch.linspace(0, drop_path, sum(net.depths)).tolist())  # deeper blocks are skipped more often
        layers: list[nn.Module] = []
        for stage, (depth, heads, (rows, columns)) in enumerate(zip(net.depths, net.heads, spec.maps, strict=True)):
            channels = spec.channels(stage)
            if stage:
                layers.append(PatchMerging(channels // 2))
            size: Size3 = (spec.steps, rows, columns)
            cuts = partition(size, net.window, shifted=False), partition(size, net.window, shifted=True)
            memory = net.memory_mode if net.memory == "blocks" and stage in MEMORY_STAGES else None
            layers += [
                Block(
                    channels,
                    heads,
                    net.window,
                    cuts[i % 2],
                    net.mlp_ratio,
                    memory=memory,
                    drop_path=next(rates),
                    dropout=dropout,
                )
                for i in range(depth)
            ]
        self.layers = nn.ModuleList(layers)

        features = spec.channels(len(net.depths) - 1)
        self.norm = nn.LayerNorm(features)
        self.dropout = nn.Dropout(dropout)
        self.apply(_initialise_linear)
        self.head = nn.Linear(features, len(spec.labels))
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.memory: ConvLSTM | None = None
        self.memory_head: nn.Linear | None = None
        if net.memory == "head":
            residual = net.memory_mode == "residual"
            self.memory = ConvLSTM(features, spec.states[0].channels)
            self.memory_head = nn.Linear(spec.states[0].channels, len(spec.labels), bias=not residual)
            if residual:
                nn.init.zeros_(self.memory_head.weight)

    def initial_state(self, n: int) -> list[Tensor]:
        """Zeros for n streams."""
        device = self.head.weight.device
        return [torch.zeros((n, *shape), device=device) for shape in self.spec.states for _ in ("h", "c")]

    def forward(self, picture: Tensor, flow: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """picture uint8 [N, Tp, H, W, 3], flow float16 [N, Tf, 2, H, W] -> logits [N, S, K+1], new state."""
        features, pairs = self.features(picture, flow, _pairs(state), 1, None)
        logits, _, pairs = self.classify(features, pairs, 1, None)
        return logits, [tensor for pair in pairs for tensor in pair]

    def forward_sequence(
        self, picture: Tensor, flow: Tensor, state: Sequence[Tensor] | None = None, reset: Tensor | None = None
    ) -> SequenceResult:
        """L consecutive windows of N streams in one call: equal to L calls of `forward` with the state carried.

        picture [N, L, Tp, H, W, 3], flow [N, L, Tf, 2, H, W]; state before the first window, None: zeros;
        reset bool [N, L]: True zeroes the state before that window. All that is stateless runs with N*L
        folded into the batch, and only the cells are scanned.
        """
        n, windows = picture.shape[:2]
        pairs = _pairs(self.initial_state(n) if state is None else state)
        features, pairs = self.features(picture.flatten(0, 1), flow.flatten(0, 1), pairs, windows, reset)
        logits, stateless, pairs = self.classify(features, pairs, windows, reset)
        shape = (n, windows, self.spec.steps, -1)
        flat = [tensor for pair in pairs for tensor in pair]
        return SequenceResult(logits.reshape(shape), stateless.reshape(shape), flat)

    def features(
        self, picture: Tensor, flow: Tensor, pairs: list[State], windows: int, reset: Tensor | None
    ) -> tuple[Tensor, list[State]]:
        """-> normalised feature map [N*L, S, h, w, C]; pairs with those of the blocks' cells advanced.

        With `memory: head` all of it is stateless: computed once, it serves any state in `classify`.
        """
        x = self.stem(*self.normalisation(picture, flow))
        pairs, cell = list(pairs), 0
        for layer in self.layers:
            if not isinstance(layer, Block):
                x = layer(x)  # merging
            elif layer.cell is None:
                x, _ = layer(x, None, windows, reset)
            else:
                x, pairs[cell] = layer(x, pairs[cell], windows, reset)
                cell += 1
        return self.norm(x), pairs

    def classify(
        self, features: Tensor, pairs: list[State], windows: int, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, list[State]]:
        """-> logits and stateless logits [N*L, S, K+1], new pairs."""
        stateless: Tensor = self.head(self.dropout(self._pool(features)))
        if self.memory is None or self.memory_head is None:
            return stateless, stateless, pairs
        hidden, pair = self.memory(self.dropout(features), pairs[0], windows, reset)
        remembered: Tensor = self.memory_head(self.dropout(self._pool(hidden)))
        residual = self.spec.network.memory_mode == "residual"
        return stateless + remembered if residual else remembered, stateless, [pair]

    def _pool(self, maps: Tensor) -> Tensor:
        """[N, S, h, w, C] -> [N, S, C]."""
        return maps.amax(dim=(2, 3)) if self.spec.network.pool == "max" else maps.mean(dim=(2, 3))


def _pairs(state: Sequence[Tensor]) -> list[State]:
    return [(state[i], state[i + 1]) for i in range(0, len(state), 2)]


def _initialise_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
