"""Agreement: does the int8 graph decide as the f32 network does, on footage that calibrated nothing?

Each carries its own state through every recording, so that an error which memory amplifies shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from calibration.footage import Recording
from calibration.network import Array, Inputs, Network, OpenVINONetwork, OrtNetwork, zero_states
from calibration.observation import Observation, observe
from engine.bundle import Bundle
from engine.parity import LIMITS, Reference
from engine.softmax import softmax
from engine.spec import ModelSpec
from stream.failure import SourceError

MIN_AGREEMENT = 0.985
MAX_LOST_CLIPS = 1


class Parity(NamedTuple):
    """logits: largest error as a share of engine.parity's limit for int8. states: relative root mean square error.

    Not the states' largest error: where the memory's cells count up and down, a single one of thousands that crosses
    zero a step early has another sign for a while, and no decision hangs on it.
    """

    logits: float
    states: float


@dataclass
class Agreement:
    """One runtime against f32 on OpenVINO.

    windows, agreeing: by the top label of a window's mean score; steps, agreeing_steps: by each step's own.
    largest: difference of any label's score in any step. clips: labelled recordings; right, right_f32, lost: of them,
    by the mean score of all steps; lost are those that f32 had right. ms: median of a window, f32 and int8 in turn.
    """

    runtime: str
    parity: Parity
    windows: int = 0
    agreeing: int = 0
    steps: int = 0
    agreeing_steps: int = 0
    largest: float = 0.0
    clips: int = 0
    right: int = 0
    right_f32: int = 0
    lost: list[str] = field(default_factory=list)
    ms: float = 0.0

    @property
    def share(self) -> float:
        return self.agreeing / max(1, self.windows)

    @property
    def passed(self) -> bool:
        return self.share >= MIN_AGREEMENT and len(self.lost) <= MAX_LOST_CLIPS and self.parity.logits <= 1

    def _add(self, expected: Array, got: Array) -> None:
        """Scores [S, K+1] of one window."""
        self.windows += 1
        self.agreeing += int(expected.mean(axis=0).argmax() == got.mean(axis=0).argmax())
        self.steps += len(expected)
        self.agreeing_steps += int((expected.argmax(axis=1) == got.argmax(axis=1)).sum())
        self.largest = max(self.largest, float(np.abs(expected - got).max()))

    def _add_clip(self, name: str, label: int, expected: list[Array], got: list[Array]) -> None:
        self.clips += 1
        was, now = (int(np.concatenate(rows).mean(axis=0).argmax()) for rows in (expected, got))
        self.right_f32 += was == label
        self.right += now == label
        if was == label != now:
            self.lost.append(name)


def check_agreement(
    bundle: Bundle,
    graph: bytes,
    recordings: Sequence[Recording],
    progress: Callable[[], None],
) -> tuple[list[Agreement], float]:
    """(OpenVINO's agreement and ONNX Runtime's, f32's median ms on OpenVINO).

    Recordings that cannot be read are left out.
    """
    spec = bundle.spec
    reference = OpenVINONetwork(bundle.onnx().read_bytes(), spec)
    networks: dict[str, Network] = {"openvino": OpenVINONetwork(graph, spec), "onnxruntime": OrtNetwork(graph, spec)}
    results = {name: Agreement(name, parity(net, bundle.reference(), spec)) for name, net in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in ("f32", *networks)}

    def timed(name: str, network: Network, inputs: Inputs) -> list[Array]:
        begun = time.perf_counter()
        outputs = network(inputs)
        times[name].append(1e3 * (time.perf_counter() - begun))
        return outputs

    for recording in recordings:
        try:
            _follow(spec, reference, networks, recording, results, timed)
        except SourceError:
            continue
        finally:
            progress()
    for name, result in results.items():
        result.ms = float(np.median(times[name])) if times[name] else 0.0
    return list(results.values()), float(np.median(times["f32"])) if times["f32"] else 0.0


def _follow(
    spec: ModelSpec,
    reference: Network,
    networks: Mapping[str, Network],
    recording: Recording,
    results: Mapping[str, Agreement],
    timed: Callable[[str, Network, Inputs], list[Array]],
) -> None:
    """One recording through all networks at once."""
    windows = len(spec.inputs) - len(spec.state_tensors)  # inputs that are no states
    states = {name: zero_states(spec) for name in networks}
    expected: list[Array] = []
    got: dict[str, list[Array]] = {name: [] for name in networks}
    epoch: int | None = None

    def f32(inputs: Inputs) -> list[Array]:
        return timed("f32", reference, inputs)

    seen: Observation
    for seen in observe(f32, spec, recording):
        if seen.epoch != epoch:
            epoch, states = seen.epoch, {name: zero_states(spec) for name in networks}
        expected.append(softmax(seen.logits))
        for name, network in networks.items():
            logits, *states[name] = timed(name, network, [*seen.inputs[:windows], *states[name]])
            got[name].append(softmax(logits[0]))
            results[name]._add(expected[-1], got[name][-1])
    if recording.label is not None and expected:
        for name in networks:
            results[name]._add_clip(recording.name, spec.labels.index(recording.label), expected, got[name])


def parity(network: Network, reference: Reference, spec: ModelSpec) -> Parity:
    """On the bundle's reference windows, state carried."""
    states, worst, state_error = zero_states(spec), 0.0, 0.0
    limit = LIMITS["int8"].logits * max(1.0, float(np.abs(reference.logits).max()))
    for window in range(len(reference.logits)):
        rows = slice(window, window + 1)
        pictures = [reference.picture[rows], *((reference.flow[rows],) if spec.flow_ticks else ())]
        logits, *states = network([*pictures, *states])
        worst = max(worst, float(np.abs(logits[0] - reference.logits[window]).max()) / limit)
        for got, wanted in zip(states, (state[window] for state in reference.states), strict=True):
            error = float(np.sqrt(np.mean((got[0] - wanted) ** 2) / max(float(np.mean(wanted**2)), 1e-12)))
            state_error = max(state_error, error)
    return Parity(worst, state_error)
