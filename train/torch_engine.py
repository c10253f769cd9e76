"""The reference engine: a Recognizer in torch behind the Engine protocol, to measure a network while it is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from engine.network.recognizer import Recognizer
from engine.runtime.base import EngineInfo, Inference
from engine.spec import ModelSpec


class TorchEngine:
    """Implements Engine. The network must be in evaluation mode; it stays the caller's."""

    def __init__(self, model: Recognizer) -> None:
        self._model = model
        self._states: dict[int, list[torch.Tensor]] = {}

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("torch", "fp32", "cpu")

    def open_slot(self) -> int:
        slot = max(self._states, default=-1) + 1
        self.reset_slot(slot)
        return slot

    def reset_slot(self, slot: int) -> None:
        self._states[slot] = self._model.initial_state(1)

    def close_slot(self, slot: int) -> None:
        del self._states[slot]

    def infer(self, slots: Sequence[int], picture: npt.NDArray[np.uint8], flow: npt.NDArray[np.float16]) -> Inference:
        """See Engine."""
        state = [torch.cat(rows) for rows in zip(*(self._states[slot] for slot in slots), strict=True)]
        with torch.inference_mode():
            logits, new = self._model(torch.from_numpy(picture), torch.from_numpy(flow), state)
        finite = torch.isfinite(logits).flatten(1).all(1)
        for tensor in new:
            finite &= torch.isfinite(tensor).flatten(1).all(1)
        for n, slot in enumerate(slots):
            if finite[n]:
                self._states[slot] = [tensor[n : n + 1] for tensor in new]
            else:
                self.reset_slot(slot)
        return Inference(logits.numpy(), finite.numpy())

    def state(self, slot: int) -> list[npt.NDArray[np.float32]]:
        return [tensor[0].numpy() for tensor in self._states[slot]]

    def close(self) -> None:
        self._states.clear()
