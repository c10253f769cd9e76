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

from engine.runtime.base import Engine, EngineError, EngineInfo, Precision
from engine.softmax import softmax
from engine.spec import ModelSpec, TensorSpec

MIN_WINDOWS = 12


class Limits(NamedTuple):
    """What an engine of a precision is allowed.

    logits, states: largest error, as a share of the reference's largest magnitude in the same tensor (at least 1).
    scores: largest difference of a score, the softmax of the logits. top1: least share of steps whose best label is
    the reference's.
    """

    logits: float
    states: float
    scores: float
    top1: float


# fp32 engines differ by the order of sums alone: 1e-6 to 1e-5 is usual. Measured with convolutions and linear
# layers of the default network rounded, on real clips: bf16 0.007 in logits, 0.10 in states; fp16 an eighth
# of both. A state holds thousands of values, some at a gate's threshold, and logits hardly notice one.
LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(logits=1e-3, states=1e-3, scores=1e-3, top1=0.99),
    "fp16": Limits(logits=1e-2, states=5e-2, scores=2e-2, top1=0.98),
    "bf16": Limits(logits=5e-2, states=3e-1, scores=1e-1, top1=0.95),
    "int8": Limits(logits=2e-1, states=5e-1, scores=3e-1, top1=0.9),
}


class Parity(NamedTuple):
    """How an engine compared over `windows`. used: the largest share of a limit, 0..1; top1, scores as in Limits."""

    windows: int
    used: float
    top1: float
    scores: float

    def __str__(self) -> str:
        return (
            f"{self.windows} windows, top-1 agreement {self.top1:.1%}, largest difference of a score "
            f"{self.scores:.2g}, {self.used:.0%} of the limits used"
        )


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


def check_parity(engine: Engine, reference: Reference) -> Parity:
    """Run the reference through `engine`, in a slot of its own, with the state carried from window to window.

    Raises ParityError, naming output, window and place, where a limit is passed or a value is not finite.
    """
    spec, info = engine.spec, engine.info
    limits = LIMITS[info.precision]
    names = ["logits", *(t.name for t in spec.state_tensors)]
    expected: list[npt.NDArray[np.float32]] = [reference.logits, *reference.states]
    logits = np.empty_like(reference.logits)
    used = 0.0
    slot = engine.open_slot()
    try:
        for window in range(len(reference.logits)):
            rows = slice(window, window + 1)
            inference = engine.infer([slot], reference.picture[rows], reference.flow[rows])
            logits[window] = inference.logits[0]
            for name, values, wanted in zip(names, [logits[window], *engine.state(slot)], expected, strict=True):
                limit = limits.logits if name == "logits" else limits.states
                scale = max(1.0, float(np.abs(wanted).max()))
                used = max(used, _compare(info, spec, name, window, values, wanted[window], limit * scale))
    finally:
        engine.close_slot(slot)
    difference = np.abs(softmax(logits) - softmax(reference.logits))
    scores = float(difference.max())
    same = logits.argmax(axis=-1) == reference.logits.argmax(axis=-1)
    parity = Parity(len(logits), max(used, scores / limits.scores), float(same.mean()), scores)
    if scores > limits.scores:
        window, step, label = (int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
        raise ParityError(
            f"{_who(info, spec)}: the score of '{spec.labels[label]}' in step {step} of reference window {window} is "
            f"off by {scores:.3g} (limit {limits.scores:g}); it will not be served",
            info.precision,
        )
    if parity.top1 < limits.top1:
        window, step = (int(i) for i in np.argwhere(~same)[0])
        raise ParityError(
            f"{_who(info, spec)}: its best label is the trained network's in {parity.top1:.1%} of steps, at least "
            f"{limits.top1:.0%} are needed; the first other one is step {step} of reference window {window}; "
            "it will not be served",
            info.precision,
        )
    return parity


def _compare(
    info: EngineInfo,
    spec: ModelSpec,
    name: str,
    window: int,
    values: npt.NDArray[np.float32],
    wanted: npt.NDArray[np.float32],
    limit: float,
) -> float:
    """The share of the limit that the largest error is. Raises ParityError if that is more than all of it."""
    error = np.where(np.isfinite(values), np.abs(values - wanted), np.inf)
    place = np.unravel_index(int(error.argmax()), error.shape)
    if not error[place] <= limit:
        at = ", ".join(str(int(i)) for i in place)
        raise ParityError(
            f"{_who(info, spec)}: {name}[{at}] of reference window {window} is {values[place]:.4g}, expected "
            f"{wanted[place]:.4g} within {limit:.2g}; it will not be served",
            info.precision,
        )
    return float(error[place]) / limit


def _who(info: EngineInfo, spec: ModelSpec) -> str:
    return f"{info.kind} ({info.precision}, {info.device}) does not compute model '{spec.name}' as it was trained"
