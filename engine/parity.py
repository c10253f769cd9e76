"""Is a compiled engine still the network that was trained? Checked before it serves, on the machine it serves on.

A bundle carries consecutive windows with the float32 logits and states that torch gave for them. The engine
runs the same windows with its state carried, so that an error which memory amplifies shows too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from engine.runtime.base import Engine, EngineError, Precision
from engine.spec import ModelSpec, TensorSpec

MIN_WINDOWS = 12


class Limits(NamedTuple):
    """Largest error allowed, as a share of the reference's largest magnitude in the same tensor (at least 1)."""

    logits: float
    states: float


# fp32 engines differ by the order of sums alone: 1e-6 to 1e-5 is usual. Measured with convolutions and linear
# layers of the default network rounded, on real clips: bf16 0.007 in logits, 0.10 in states; fp16 an eighth
# of both. A state holds thousands of values, some at a gate's threshold, and logits hardly notice one.
LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(logits=1e-3, states=1e-3),
    "fp16": Limits(logits=1e-2, states=5e-2),
    "bf16": Limits(logits=5e-2, states=3e-1),
    "int8": Limits(logits=2e-1, states=5e-1),
}


class ParityError(EngineError):
    """An engine whose outputs are not the trained network's: it must not serve. precision: the engine's."""

    def __init__(self, message: str, precision: Precision) -> None:
        super().__init__(message)
        self.precision = precision


@dataclass(frozen=True)
class Reference:
    """Consecutive windows of one stream from a zero state, and what torch gave for them.

    picture uint8 [W, Tp, H, W, 3], flow float16 [W, Tf, 2, H, W]; logits float32 [W, S, K+1]; states: for
    each of `ModelSpec.state_tensors` float32 [W, C, h, w], its value after every window.
    """

    picture: npt.NDArray[np.uint8]
    flow: npt.NDArray[np.float16]
    logits: npt.NDArray[np.float32]
    states: list[npt.NDArray[np.float32]]

    def save(self, path: Path, spec: ModelSpec) -> None:
        arrays: list[npt.NDArray[Any]] = [self.picture, self.flow, self.logits, *self.states]
        tensors = {t.name: np.ascontiguousarray(a) for t, a in zip(_tensors(spec), arrays, strict=True)}
        save_file(tensors, path)

    @classmethod
    def load(cls, path: Path, spec: ModelSpec) -> Reference:
        """Raises ValueError if the file is not readable or not of this spec."""
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"not a safetensors file ({error})") from error
        expected = _tensors(spec)
        if tensors.keys() != {t.name for t in expected}:
            raise ValueError(f"holds {sorted(tensors)}, expected {sorted(t.name for t in expected)}")
        windows = len(tensors["picture"])
        if windows < MIN_WINDOWS:
            raise ValueError(f"holds {windows} windows, at least {MIN_WINDOWS} are needed")
        for t in expected:
            got = tensors[t.name]
            if got.shape != (windows, *t.shape) or got.dtype != t.dtype:
                raise ValueError(f"{t.name} is {got.dtype} {list(got.shape)}, expected {t.dtype} {[windows, *t.shape]}")
        picture, flow, logits, *states = (tensors[t.name] for t in expected)
        return cls(picture, flow, logits, states)


def _tensors(spec: ModelSpec) -> list[TensorSpec]:
    picture, logits = spec.inputs[0], spec.outputs[0]
    flow = TensorSpec("flow", (len(spec.flow_ticks), 2, spec.height, spec.width), "float16")
    return [picture, flow, logits, *spec.state_tensors]


def check_parity(engine: Engine, reference: Reference) -> float:
    """Run the reference through `engine` in a slot of its own; the largest share of a limit that was used, 0..1.

    Raises ParityError, naming output, window and place, where a limit is passed or a value is not finite.
    """
    spec, info = engine.spec, engine.info
    limits = LIMITS[info.precision]
    names = ["logits", *(t.name for t in spec.state_tensors)]
    expected: list[npt.NDArray[np.float32]] = [reference.logits, *reference.states]
    worst = 0.0
    slot = engine.open_slot()
    try:
        for window in range(len(reference.logits)):
            rows = slice(window, window + 1)
            inference = engine.infer([slot], reference.picture[rows], reference.flow[rows])
            got = [inference.logits[0], *engine.state(slot)]
            for name, values, wanted in zip(names, got, expected, strict=True):
                limit = limits.logits if name == "logits" else limits.states
                error = np.abs(values - wanted[window]) / max(1.0, float(np.abs(wanted).max()))
                error = np.where(np.isfinite(values), error, np.inf)
                place = np.unravel_index(int(error.argmax()), error.shape)
                if not error[place] <= limit:
                    at = ", ".join(str(int(i)) for i in place)
                    raise ParityError(
                        f"{info.kind} ({info.precision}, {info.device}) does not compute model '{spec.name}' as it was "
                        f"trained: {name}[{at}] of reference window {window} is {values[place]:.4g}, expected "
                        f"{wanted[window][place]:.4g} (limit {limit:g} of the tensor's range); it will not be served",
                        info.precision,
                    )
                worst = max(worst, float(error[place]) / limit)
    finally:
        engine.close_slot(slot)
    return worst
