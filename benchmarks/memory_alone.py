"""The memory of a network by itself: features are computed once a window, so that hours of state cost seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.network.convlstm import State
from engine.network.recognizer import Recognizer
from engine.spec import ModelSpec
from stream.clip import ClipBuilder
from stream.reader import read_windows
from train.online import F32, Input, Trace

CHUNK = 128  # windows in one call


class MemoryAlone:
    """A network with `memory: head` whose state is in the caller's hand. Raises RuntimeError for another one."""

    def __init__(self, model: Recognizer) -> None:
        if model.memory is None:
            raise RuntimeError(f"model '{model.spec.name}' has no memory after its last stage (memory: head)")
        self.model = model.eval()
        self.spec = model.spec

    def zero(self) -> State:
        hidden, cell = self.model.initial_state(1)
        return hidden, cell

    def features(self, inputs: Iterable[Input]) -> Tensor:
        """Of W windows: float32 [W, S, h, w, C]. They depend on no state."""
        with torch.inference_mode():
            return torch.cat(
                [
                    self.model.features(torch.from_numpy(i.picture), torch.from_numpy(i.flow), [], 1, None)[0]
                    for i in inputs
                ]
            )

    def run(self, features: Tensor, state: State, reset: Sequence[bool] | None = None) -> tuple[F32, State]:
        """W consecutive windows from a state: logits float32 [W, S, K+1] and the state after them.

        reset: True where the state is zeroed before a window.
        """
        logits = []
        with torch.inference_mode():
            for first in range(0, len(features), CHUNK):
                part = features[first : first + CHUNK]
                zeroed = None if reset is None else torch.tensor([list(reset[first : first + CHUNK])])
                out, _, (state,) = self.model.classify(part, [state], len(part), zeroed)
                logits.append(out.numpy())
        return np.concatenate(logits), state


def traced(memory: MemoryAlone, inputs: Sequence[Input], logits: F32) -> Trace:
    """The windows' logits as a trace, from which events follow."""
    pts_ns, epochs = np.stack([i.pts_ns for i in inputs]), np.array([i.epoch for i in inputs], np.int64)
    return Trace(memory.spec, logits, pts_ns, epochs)


def read_anywhere(paths: Sequence[Path], spec: ModelSpec, seed: int) -> list[list[Input]]:
    """The windows of files, each from a moment within its first window on, as a camera's begin anywhere.

    From the first frame on, windows of a second would fall in with the joins of train.films, which lie on whole
    seconds: none would show the end of an action and what comes after it. Raises SourceError.
    """
    builder, starts_s = ClipBuilder(spec), np.random.default_rng([seed, 1]).uniform(0, spec.window_s, len(paths))
    return [
        [Input(*builder.build([w]), w.pts_ns, w.epoch) for w in read_windows(path, spec, start_s=start_s)]
        for path, start_s in zip(paths, starts_s.tolist(), strict=True)
    ]
