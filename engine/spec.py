"""ModelSpec: what a model bundle says of itself. Everything else about a model is derived from it here.

The three modalities are those of the Video Swin-CLSTM paper, aligned on purpose: one token embeds a fixed
pattern of ticks, R a picture and F the flow from one tick to the next.

    rgb            (R_t, R_t+1)                      a token every 2 ticks
    rgb+flow       (R_t, F_t->t+1)                   a token every 2 ticks
    lessrgb+flow   (R_t, F_t->t+1, F_t+2->t+3)       a token every 4 ticks
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

NONE_LABEL = "none"
LABEL_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]*"  # as UCF-101 names them: ApplyEyeMakeup

Modality = Literal["rgb", "rgb+flow", "lessrgb+flow"]


MEMORY_STAGES = (1, 3)  # memory: blocks puts a cell in every block of stages 2 and 4


class TokenPattern(NamedTuple):
    """Which ticks of a token's period are used, as offsets from its first tick."""

    ticks: int
    pictures: tuple[int, ...]
    flows: tuple[int, ...]  # offset t stands for the flow t -> t+1


TOKEN_PATTERNS: dict[Modality, TokenPattern] = {
    "rgb": TokenPattern(ticks=2, pictures=(0, 1), flows=()),
    "rgb+flow": TokenPattern(ticks=2, pictures=(0,), flows=(0,)),
    "lessrgb+flow": TokenPattern(ticks=4, pictures=(0,), flows=(0, 2)),
}


class StateShape(NamedTuple):
    """Size of one memory cell's hidden and of its cell state, without the batch."""

    channels: int
    rows: int
    columns: int


class TensorSpec(NamedTuple):
    """An input or output of the network: its shape without the batch N, which comes first."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["uint8", "float16", "float32"]


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FlowSpec(Strict):
    """How flow was computed in training, and so must be computed live."""

    method: Literal["dis", "tvl1"] = "dis"
    preset: Literal["ultrafast", "fast", "medium"] = "ultrafast"
    finest_scale: int = Field(
        0, ge=0, le=4, description="flow is found down to pictures halved so many times; 0: the network's own pixels"
    )
    clip_px: float = Field(20.0, gt=0, description="flow is clipped to this many network pixels per tick")


class NetworkSpec(Strict):
    """Sizes of the recognizer. The defaults are Video Swin-T as published."""

    embed_dim: int = Field(96, gt=0)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: tuple[int, int, int] = Field((8, 7, 7), description="attention window: tokens, rows, columns")
    mlp_ratio: float = Field(4.0, gt=0)
    stem: Literal["patch", "conv"] = Field(
        "patch", description="patch: 4x4 projection as published; conv: strided convolutions in its place"
    )
    stem_channels: tuple[int, ...] = Field(
        (), description="conv stem: channels of each stride-2 convolution; the last equals embed_dim"
    )
    pool: Literal["mean", "max"] = Field(
        "mean", description="over the map, before the classifier: mean as published; max where people are small"
    )
    memory: Literal["none", "head", "blocks"] = "head"
    memory_mode: Literal["replace", "residual"] = "residual"
    memory_channels: int | None = Field(None, description="head memory: hidden channels; None: as the last stage")

    @model_validator(mode="after")
    def _consistent(self) -> NetworkSpec:
        if len(self.depths) != len(self.heads):
            raise ValueError(f"depths has {len(self.depths)} stages and heads has {len(self.heads)}")
        if self.stem == "conv" and (not self.stem_channels or self.stem_channels[-1] != self.embed_dim):
            raise ValueError("stem_channels must end in embed_dim")
        if self.stem == "patch" and self.stem_channels:
            raise ValueError("stem_channels belongs to stem: conv")
        if any((self.embed_dim << stage) % heads for stage, heads in enumerate(self.heads)):
            raise ValueError("heads must divide each stage's channels: embed_dim, doubled from stage to stage")
        if self.memory == "blocks" and len(self.depths) != 4:
            raise ValueError("memory: blocks puts cells in stages 2 and 4 and needs four stages")
        return self


class ModelSpec(Strict):
    """A model as its bundle describes it. labels: K actions and `none`, the last."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    version: str = Field(min_length=1)
    labels: tuple[str, ...]
    modality: Modality
    ticks: int = Field(description="T, ticks per window")
    rate_hz: float = Field(gt=0, description="ticks per second")
    height: int = Field(gt=0, multiple_of=8)
    width: int = Field(gt=0, multiple_of=8)
    flow: FlowSpec = FlowSpec()
    network: NetworkSpec = NetworkSpec()

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if len(self.labels) < 2 or self.labels[-1] != NONE_LABEL:
            raise ValueError(f"labels must name at least one action and end in '{NONE_LABEL}'")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must differ from each other")
        if unfit := [label for label in self.labels if not re.fullmatch(LABEL_PATTERN, label)]:
            raise ValueError(
                f"labels are part of topics and names of folders: '{unfit[0]}' must be letters a-z, digits, "
                "hyphens and underscores, and begin with a letter or digit"
            )
        if self.ticks <= 0 or self.ticks % self.pattern.ticks:
            raise ValueError(f"ticks must be a multiple of {self.pattern.ticks} for modality {self.modality}")
        return self

    @property
    def pattern(self) -> TokenPattern:
        return TOKEN_PATTERNS[self.modality]

    @property
    def actions(self) -> tuple[str, ...]:
        """The labels that may be published: all but `none`."""
        return self.labels[:-1]

    @property
    def steps(self) -> int:
        """S, rows of logits per window: one per token in time."""
        return self.ticks // self.pattern.ticks

    @property
    def picture_ticks(self) -> tuple[int, ...]:
        """The ticks of a window whose picture is an input, [Tp]."""
        p = self.pattern
        return tuple(s * p.ticks + o for s in range(self.steps) for o in p.pictures)

    @property
    def flow_ticks(self) -> tuple[int, ...]:
        """The ticks t of a window whose flow t -> t+1 is an input, [Tf]."""
        p = self.pattern
        return tuple(s * p.ticks + o for s in range(self.steps) for o in p.flows)

    @property
    def maps(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the token map in each stage of the backbone."""
        n = self.network
        halvings = 2 if n.stem == "patch" else len(n.stem_channels)
        sizes = []
        for stage in range(len(n.depths)):
            divisor = 1 << (halvings + stage)
            sizes.append((-(-self.height // divisor), -(-self.width // divisor)))
        return tuple(sizes)

    def channels(self, stage: int) -> int:
        """C of a stage of the backbone, counted from 0."""
        return self.network.embed_dim << stage

    @property
    def states(self) -> tuple[StateShape, ...]:
        """Memory cells in the order of state_0, state_1, ...: what is carried from window to window."""
        n, maps = self.network, self.maps
        if n.memory == "head":
            last = len(n.depths) - 1
            return (StateShape(n.memory_channels or self.channels(last), *maps[last]),)
        if n.memory == "blocks":
            return tuple(
                StateShape(self.channels(stage), *maps[stage])
                for stage in MEMORY_STAGES
                for _ in range(n.depths[stage])
            )
        return ()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The network's inputs in order. `rgb` has no `flow`."""
        size = (self.height, self.width)
        picture = TensorSpec("picture", (len(self.picture_ticks), *size, 3), "uint8")
        flow = TensorSpec("flow", (len(self.flow_ticks), 2, *size), "float16")
        return (picture, *((flow,) if self.flow_ticks else ()), *self.state_tensors)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The network's outputs in order: logits, and the new states as `new_<state>`."""
        logits = TensorSpec("logits", (self.steps, len(self.labels)), "float32")
        return (logits, *(t._replace(name=f"new_{t.name}") for t in self.state_tensors))

    @property
    def state_tensors(self) -> tuple[TensorSpec, ...]:
        """state_0_h, state_0_c, state_1_h, ...: hidden and cell state of every memory cell."""
        return tuple(
            TensorSpec(f"state_{i}_{part}", tuple(shape), "float32")
            for i, shape in enumerate(self.states)
            for part in ("h", "c")
        )

    @property
    def window_s(self) -> float:
        return self.ticks / self.rate_hz
