"""Engine: what runs a network, whichever compiler made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from engine.spec import ModelSpec

EngineKind = Literal["openvino", "tensorrt", "torch"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


class EngineError(RuntimeError):
    """An engine that cannot be had on this machine, or must not be used."""


@dataclass(frozen=True)
class EngineInfo:
    """What serves, and why. reason: why it is not what would have been first choice; empty if it is.

    batch: so many windows at a time are best; more take longer than one after the other would for the first of them.
    """

    kind: EngineKind
    precision: Precision
    device: str
    reason: str = ""
    batch: int = 1

    def __str__(self) -> str:
        return f"{self.kind} {self.precision} on {self.device}" + (f" ({self.reason})" if self.reason else "")


class Inference(NamedTuple):
    """logits: float32 [N, S, K+1], the caller's to keep. finite: bool [N]; False where flow, logits or state
    were not finite: those logits are NaN, and the slot's state has been zeroed; the caller starts a new epoch."""

    logits: npt.NDArray[np.float32]
    finite: npt.NDArray[np.bool_]


class Engine(Protocol):
    """Runs windows of many streams in batches and keeps their states, one slot per (camera, zone, epoch).

    An engine belongs to the thread that made it. A slot that is not open, or twice in one batch, is a
    ValueError.
    """

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def info(self) -> EngineInfo: ...

    def open_slot(self) -> int:
        """A slot whose state is zero."""

    def reset_slot(self, slot: int) -> None:
        """Zero the slot's state: a new epoch."""

    def close_slot(self, slot: int) -> None:
        """Give the slot back."""

    def infer(self, slots: Sequence[int], picture: npt.NDArray[np.uint8], flow: npt.NDArray[np.float16]) -> Inference:
        """One window for each of N slots: picture uint8 [N, Tp, H, W, 3], flow float16 [N, Tf, 2, H, W]."""

    def state(self, slot: int) -> list[npt.NDArray[np.float32]]:
        """A copy of the slot's state, in the order of `ModelSpec.state_tensors`, each [C, h, w]."""

    def close(self) -> None:
        """Free what the engine holds."""
