"""Agreement: does the int8 graph decide as the f32 network does, on footage that calibrated nothing?

Each carries its own state through every recording, so that an error which memory amplifies shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from calibration.footage import Recording
from calibration.network import Array, Inputs, Network, OpenVINONetwork, OrtNetwork, carried, zero_states
from calibration.observation import Observation, observe
from engine.bundle import Bundle
from engine.parity import Parity, ParityError, compare
from engine.softmax import softmax
from engine.spec import ModelSpec
from stream.failure import SourceError

MIN_AGREEMENT = 0.985
MAX_LOST_CLIPS = 1


@dataclass
class Agreement:
    """One runtime against f32 on OpenVINO.

    windows, agreeing: by the top label of a window's mean score; steps, agreeing_steps: by each step's own.
    largest: difference of any label's score in any step. clips: labelled recordings; right, right_f32, lost: of them,
    by the mean score of all steps; lost are those that f32 had right. ms: median of a window, f32 and int8 in turn.
    parity: on the bundle's reference windows; None where the engine's check refuses the graph, and `refusal` says why.
    """

    runtime: str
    parity: Parity | None = None
    refusal: str = ""
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
        return self.share >= MIN_AGREEMENT and len(self.lost) <= MAX_LOST_CLIPS and self.parity is not None

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
    results = {name: check_parity(name, network, bundle) for name, network in networks.items()}
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


def check_parity(runtime: str, network: Network, bundle: Bundle) -> Agreement:
    """The engine's own check, with which the agreement begins."""
    try:
        parity = compare(carried(network, bundle.spec), bundle.reference(), bundle.spec, "int8", runtime)
    except ParityError as error:
        return Agreement(runtime, refusal=str(error))
    return Agreement(runtime, parity)
