"""Is a compiled engine still the network that was trained? Checked before it serves, on the machine it serves on.

A bundle carries consecutive windows with the float32 logits and states that torch gave for them. The engine
runs the same windows with its state carried, so that an error which memory amplifies shows too.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from engine.runtime.base import Engine, EngineError, Precision
from engine.softmax import softmax
from engine.spec import ModelSpec, TensorSpec

MIN_WINDOWS = 12
PACKED = ("picture", "flow")  # in the file: deflated, uint8 [bytes]; as they are in bundles of before


class Limits(NamedTuple):
    """What an engine of a precision is allowed.

    logits, states: largest error, as a share of the reference's largest magnitude in the same tensor (at least 1).
    states_rms: root mean square error of any channel of a state over all windows, as a share of the channel's own root
    mean square (at least QUIET of the tensor's, and SILENT).
    scores: largest difference of a score, the softmax of the logits. top1: least share of steps whose best label is
    the reference's.
    """

    logits: float
    states: float
    states_rms: float
    scores: float
    top1: float


QUIET, SILENT = 0.1, 0.01

# fp32 engines differ by the order of sums alone: 1e-6 to 1e-5 is usual. Measured with convolutions and linear layers of
# the default network rounded, on real clips: bf16 0.007 in logits, 0.10 in states; fp16 an eighth of both. A state
# holds thousands of values, some at a gate's threshold, and logits hardly notice one. Over the reference windows of
# `movements` a channel's root mean square error is at most 3e-6 in fp32, 0.003 in fp16, 0.012 in bf16 and 0.05 to 0.074
# in int8 (two calibrations, the worse of OpenVINO and ONNX Runtime); that of a channel that is zero, negated or
# another's is about 1 or more. In int8 a single cell of the memory, which counts up and down, may cross zero a step
# early and have another sign for a while: 0.92 of the largest magnitude was seen, and no decision hung on it. So there
# the channels decide, and an element only has to be no further off than from one end to the other.
LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(logits=1e-3, states=1e-3, states_rms=1e-4, scores=1e-3, top1=0.99),
    "fp16": Limits(logits=1e-2, states=5e-2, states_rms=1e-2, scores=2e-2, top1=0.98),
    "bf16": Limits(logits=5e-2, states=3e-1, states_rms=5e-2, scores=1e-1, top1=0.95),
    "int8": Limits(logits=2e-1, states=2.0, states_rms=1.5e-1, scores=3e-1, top1=0.9),
}


class Parity(NamedTuple):
    """How an engine compared over `windows`. used: the largest share of a limit, 0..1; the others as in Limits."""

    windows: int
    used: float
    top1: float
    scores: float
    states_rms: float

    def __str__(self) -> str:
        return (
            f"{self.windows} windows, top-1 agreement {self.top1:.1%}, largest difference of a score "
            f"{self.scores:.2g}, {self.used:.0%} of the limits used"
        )


Window = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float16]], tuple[npt.NDArray[np.float32], list[Any]]]
"""The next window of one stream, picture [1, Tp, H, W, 3] and flow [1, Tf, 2, H, W], to its logits [S, K+1] and the
states after it, each [C, h, w]."""


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
        """Picture and flow are deflated: they would be the larger part of a bundle."""
        arrays: list[npt.NDArray[Any]] = [self.picture, self.flow, self.logits, *self.states]
        tensors = {t.name: np.ascontiguousarray(a) for t, a in zip(_tensors(spec), arrays, strict=True)}
        save_file(tensors | {name: _packed(tensors[name]) for name in PACKED}, path)

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
        windows = len(tensors["logits"])
        if windows < MIN_WINDOWS:
            raise ValueError(f"holds {windows} windows, at least {MIN_WINDOWS} are needed")
        for t in expected:
            got = tensors[t.name]
            if t.name in PACKED and got.ndim == 1:
                got = tensors[t.name] = _unpacked(got, t, windows)
            if got.shape != (windows, *t.shape) or got.dtype != t.dtype:
                raise ValueError(f"{t.name} is {got.dtype} {list(got.shape)}, expected {t.dtype} {[windows, *t.shape]}")
        picture, flow, logits, *states = (tensors[t.name] for t in expected)
        return cls(picture, flow, logits, states)


def _packed(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Deflated: the first byte of every value, then the second of every value, which repeat each other more."""
    planes = np.moveaxis(array.view(np.uint8).reshape(*array.shape, array.itemsize), -1, 0)
    return np.frombuffer(zlib.compress(planes.tobytes(), 9), np.uint8)


def _unpacked(packed: npt.NDArray[np.uint8], of: TensorSpec, windows: int) -> npt.NDArray[Any]:
    """Raises ValueError if it is not so many windows of that tensor."""
    dtype, shape = np.dtype(of.dtype), (windows, *of.shape)
    size = dtype.itemsize * math.prod(shape)
    try:
        content = zlib.decompressobj().decompress(packed.tobytes(), size + 1)
    except zlib.error as error:
        raise ValueError(f"{of.name} cannot be unpacked ({error})") from error
    if len(content) != size:
        raise ValueError(f"{of.name} unpacks to {len(content)} bytes or more, expected {size}")
    planes = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, -1)
    return np.array(planes.T, order="C").view(dtype).reshape(shape)


def _tensors(spec: ModelSpec) -> list[TensorSpec]:
    picture, logits = spec.inputs[0], spec.outputs[0]
    flow = TensorSpec("flow", (len(spec.flow_ticks), 2, spec.height, spec.width), "float16")
    return [picture, flow, logits, *spec.state_tensors]


def check_parity(engine: Engine, reference: Reference) -> Parity:
    """Run the reference through `engine`, in a slot of its own, with the state carried from window to window.

    Raises ParityError, naming output, window and place, where a limit is passed or a value is not finite.
    """
    slot, info = engine.open_slot(), engine.info

    def run(
        picture: npt.NDArray[np.uint8], flow: npt.NDArray[np.float16]
    ) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]:
        return engine.infer([slot], picture, flow).logits[0], engine.state(slot)

    try:
        return compare(run, reference, engine.spec, info.precision, f"{info.kind} ({info.precision}, {info.device})")
    finally:
        engine.close_slot(slot)


def compare(run: Window, reference: Reference, spec: ModelSpec, precision: Precision, who: str) -> Parity:
    """Call `run` with the windows of the reference, in order; it starts from a zero state. who: for the message.

    Raises ParityError as `check_parity` does.
    """
    limits = LIMITS[precision]
    check = _Check(f"{who} does not compute model '{spec.name}' as it was trained", precision)
    names = ["logits", *(t.name for t in spec.state_tensors)]
    expected = [reference.logits, *reference.states]
    got = [np.empty_like(tensor) for tensor in expected]
    for window in range(len(reference.logits)):
        rows = slice(window, window + 1)
        logits, states = run(reference.picture[rows], reference.flow[rows])
        for name, values, wanted, kept in zip(names, [logits, *states], expected, got, strict=True):
            limit = limits.logits if name == "logits" else limits.states
            scale = max(1.0, float(np.abs(wanted).max()))
            check.elements(name, window, values, wanted[window], limit * scale)
            kept[window] = values
    states_rms = max(
        (
            check.channels(name, values, wanted, limits.states_rms)
            for name, values, wanted in zip(names[1:], got[1:], expected[1:], strict=True)
        ),
        default=0.0,
    )
    scores, top1 = check.decisions(got[0], reference.logits, spec.labels, limits)
    return Parity(len(reference.logits), check.used, top1, scores, states_rms)


class _Check:
    """Compares with limits. used: the largest share of a limit so far. What is over one raises ParityError."""

    def __init__(self, what: str, precision: Precision) -> None:
        self.used = 0.0
        self._what, self._precision = what, precision

    def elements(
        self, name: str, window: int, values: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32], limit: float
    ) -> None:
        """One tensor after one window; values that are not finite fail too."""
        error = np.where(np.isfinite(values), np.abs(values - wanted), np.inf)
        place = np.unravel_index(int(error.argmax()), error.shape)
        at = ", ".join(str(int(i)) for i in place)
        self._hold(
            float(error[place]),
            limit,
            f"{name}[{at}] of reference window {window} is {values[place]:.4g}, expected {wanted[place]:.4g} "
            f"within {limit:.2g}",
        )

    def channels(
        self, name: str, values: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32], limit: float
    ) -> float:
        """A state, [W, C, h, w]; the worst channel's relative root mean square error."""
        own = _rms(wanted)
        error = _rms(values - wanted) / np.maximum(own, max(QUIET * float(np.sqrt(np.mean(own**2))), SILENT))
        worst = int(error.argmax())
        share = float(error[worst])
        self._hold(
            share, limit, f"channel {worst} of {name} is off by {share:.2g} of its root mean square (limit {limit:g})"
        )
        return share

    def decisions(
        self,
        logits: npt.NDArray[np.float32],
        wanted: npt.NDArray[np.float32],
        labels: tuple[str, ...],
        limits: Limits,
    ) -> tuple[float, float]:
        """Logits [W, S, K+1]; the largest difference of a score, and the share of steps with the same best label."""
        difference = np.abs(softmax(logits) - softmax(wanted))
        scores = float(difference.max())
        window, step, label = (int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
        self._hold(
            scores,
            limits.scores,
            f"the score of '{labels[label]}' in step {step} of reference window {window} is off by {scores:.3g} "
            f"(limit {limits.scores:g})",
        )
        same = logits.argmax(axis=-1) == wanted.argmax(axis=-1)
        top1 = float(same.mean())
        if top1 < limits.top1:
            window, step = (int(i) for i in np.argwhere(~same)[0])
            self._refuse(
                f"its best label is the trained network's in {top1:.1%} of steps, at least {limits.top1:.0%} are "
                f"needed; the first other one is step {step} of reference window {window}"
            )
        return scores, top1

    def _hold(self, error: float, limit: float, message: str) -> None:
        if not error <= limit:
            self._refuse(message)
        self.used = max(self.used, error / limit)

    def _refuse(self, message: str) -> None:
        raise ParityError(f"{self._what}: {message}; it will not be served", self._precision)


def _rms(state: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Root mean square of every channel of [W, C, h, w]."""
    rms: npt.NDArray[np.float32] = np.sqrt(np.mean(state**2, axis=(0, 2, 3)))
    return rms
