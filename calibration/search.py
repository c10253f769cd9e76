"""Search: which layers go to int8, with which ranges. Everything is decided by error measured at the network's outputs.

1. Ranges: each tensor's candidate limits are tried with only its layers in int8, on ONNX Runtime; the least error wins.
2. Smoothing (SmoothQuant): tried for products behind a LayerNorm whose error is a hundredth or more, and kept where it
   takes a fifth of the error.
3. Sensitivity: each layer alone in int8, on every runtime, for runtimes round differently: on AVX2 without VNNI
   OpenVINO's error for one convolution of `movements` is four times ONNX Runtime's.
4. All layers in int8, then without the most sensitive, one at a time, until the decisions agree with f32's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, numpy_helper

from calibration import graph
from calibration.graph import Layer, Smoothing
from calibration.network import Array, Inputs, Network, OpenVINONetwork, OrtNetwork
from calibration.ranges import Method, Ranges
from engine.narrow import narrowed
from engine.spec import ModelSpec

RUNTIMES: dict[str, Callable[[bytes, ModelSpec], Network]] = {"onnxruntime": OrtNetwork, "openvino": OpenVINONetwork}
BATCH = 8
TRIED = 16  # windows on which variants are compared: the first of the sample, which mix all strata
SMOOTHING_ALPHA = 0.5
SMOOTHING_FROM = 0.01
SMOOTHING_GAIN = 0.8
AGREEMENT = 0.995  # of single steps with f32's, on all windows of the sample: stricter than what is promised of windows

Progress = Callable[[str, int], None]
"""Told what is being done, and each time how many more of its steps are left."""


@dataclass(frozen=True)
class LayerReport:
    """layer, its range, and the network's relative error with only this layer in int8, by runtime."""

    layer: Layer
    method: Method
    limit: float
    smoothed: bool
    errors: dict[str, float]
    int8: bool

    @property
    def error(self) -> float:
        return max(self.errors.values())


@dataclass(frozen=True)
class Found:
    """graph: serialised ONNX with Q/DQ nodes, narrowed. agreement: of steps, on the sample, by runtime."""

    graph: bytes
    layers: list[LayerReport]
    agreement: dict[str, float] = field(default_factory=dict)


def collect_ranges(
    model: ModelProto,
    spec: ModelSpec,
    tensors: Sequence[str],
    batches: Sequence[Inputs],
    progress: Progress = lambda stage, left: None,
) -> Ranges:
    """How far tensors of a graph, some of its inputs among them, reach over the batches."""
    names = [tensor.name for tensor in spec.inputs]
    inside = [tensor for tensor in tensors if tensor not in names]
    network = OrtNetwork(graph.with_outputs(model, inside), spec, inside)
    ranges = Ranges()
    for left, batch in enumerate(batches):
        progress("histograms", len(batches) - left)
        given = dict(zip(names, batch, strict=True))
        values = network(batch) if inside else []
        ranges.add(dict(zip(inside, values, strict=True)) | {t: given[t] for t in tensors if t in given})
    return ranges


class Search:
    """One search. sample: windows of `ModelSpec.inputs`, each [1, ...], in an order that mixes strata."""

    def __init__(self, model: ModelProto, spec: ModelSpec, sample: Sequence[Inputs], progress: Progress) -> None:
        self._model, self._spec, self._progress = model, spec, progress
        self._batches = [
            [np.concatenate(arrays) for arrays in zip(*sample[i : i + BATCH], strict=True)]
            for i in range(0, len(sample), BATCH)
        ]
        self._tried = self._batches[: max(1, TRIED // BATCH)]
        self._expected = self._run(OrtNetwork(model.SerializeToString(), spec), self._batches)

    def run(self) -> Found:
        layers = graph.layers(self._model)
        limits, methods = self._choose_ranges(self._model, layers)
        smoothings = self._choose_smoothings(layers, limits)
        if smoothings:
            self._model = graph.smoothed(self._model, smoothings)
            by_name = {layer.name: layer for layer in graph.layers(self._model)}
            layers = [by_name[layer.name] for layer in layers]
            again = [layer for layer in layers if layer.name in {s.layer for s in smoothings}]
            new_limits, new_methods = self._choose_ranges(self._model, again)
            limits, methods = limits | new_limits, methods | new_methods
        errors = self._sensitivity(layers, limits)
        chosen, agreement = self._choose_layers(layers, limits, errors)
        names = {layer.name for layer in chosen}
        reports = [
            LayerReport(
                layer,
                methods[layer.activation],
                limits[layer.activation],
                layer.name in {s.layer for s in smoothings},
                errors[layer.name],
                layer.name in names,
            )
            for layer in layers
        ]
        made = onnx.load_model_from_string(graph.quantised(self._model, limits, chosen))
        return Found(narrowed(made).SerializeToString(), reports, agreement)

    def _choose_ranges(self, model: ModelProto, layers: Sequence[Layer]) -> tuple[dict[str, float], dict[str, Method]]:
        """By activation."""
        tensors = list(dict.fromkeys(layer.activation for layer in layers))
        ranges = collect_ranges(model, self._spec, tensors, self._batches, self._progress)
        limits: dict[str, float] = {}
        methods: dict[str, Method] = {}
        for left, tensor in enumerate(tensors):
            self._progress("ranges", len(tensors) - left)
            readers = [layer for layer in layers if layer.activation == tensor]
            candidates = ranges.limits(tensor)
            errors = {
                method: self._error(OrtNetwork(graph.quantised(model, {tensor: limit}, readers), self._spec))
                for method, limit in candidates.items()
                if len(candidates) > 1
            }
            methods[tensor] = min(errors, key=errors.__getitem__) if errors else next(iter(candidates))
            limits[tensor] = candidates[methods[tensor]]
        return limits, methods

    def _choose_smoothings(self, layers: Sequence[Layer], limits: Mapping[str, float]) -> list[Smoothing]:
        behind = graph.smoothable(self._model)
        candidates = [layer for layer in layers if layer.name in behind]
        if not candidates:
            return []
        largest = self._largest_by_channel([layer.activation for layer in candidates])
        weights = {tensor.name: tensor for tensor in self._model.graph.initializer}
        found = []
        for left, layer in enumerate(candidates):
            self._progress("smoothing", len(candidates) - left)
            plain = self._error(OrtNetwork(graph.quantised(self._model, limits, [layer]), self._spec))
            if plain < SMOOTHING_FROM:
                continue
            rows = np.abs(numpy_helper.to_array(weights[layer.weights])).max(axis=1)
            scales = _smoothing_scales(largest[layer.activation], rows)
            smoothing = Smoothing(layer.name, behind[layer.name], scales)
            model = graph.smoothed(self._model, [smoothing])
            changed = next(other for other in graph.layers(model) if other.name == layer.name)
            limit = float((largest[layer.activation] / scales).max())
            smooth = self._error(OrtNetwork(graph.quantised(model, {changed.activation: limit}, [changed]), self._spec))
            if smooth < SMOOTHING_GAIN * plain:
                found.append(smoothing)
        return found

    def _largest_by_channel(self, tensors: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Largest magnitude of every entry of the last axis."""
        network = OrtNetwork(graph.with_outputs(self._model, tensors), self._spec, tensors)
        runs = [[np.abs(a).reshape(-1, a.shape[-1]).max(axis=0) for a in network(batch)] for batch in self._batches]
        return {tensor: np.max(rows, axis=0) for tensor, *rows in zip(tensors, *runs, strict=True)}

    def _sensitivity(self, layers: Sequence[Layer], limits: Mapping[str, float]) -> dict[str, dict[str, float]]:
        errors = {}
        for left, layer in enumerate(layers):
            self._progress("sensitivity", len(layers) - left)
            variant = graph.quantised(self._model, limits, [layer])
            errors[layer.name] = {name: self._error(make(variant, self._spec)) for name, make in RUNTIMES.items()}
        return errors

    def _choose_layers(
        self, layers: Sequence[Layer], limits: Mapping[str, float], errors: Mapping[str, Mapping[str, float]]
    ) -> tuple[list[Layer], dict[str, float]]:
        """As many layers as agree with f32, and the agreement on each runtime."""
        calm = sorted(layers, key=lambda layer: max(errors[layer.name].values()))
        while True:
            self._progress("layers", len(calm))
            variant = graph.quantised(self._model, limits, calm)
            agreement = {name: self._agreement(make(variant, self._spec)) for name, make in RUNTIMES.items()}
            if not calm or min(agreement.values()) >= AGREEMENT:
                return calm, agreement
            calm.pop()

    def _agreement(self, network: Network) -> float:
        got = self._run(network, self._batches)[0]
        return float((got.argmax(axis=-1) == self._expected[0].argmax(axis=-1)).mean())

    def _error(self, network: Network) -> float:
        """The worst output's root mean square error as a share of its root mean square."""
        got = self._run(network, self._tried)
        return max(
            float(np.sqrt(np.mean((g - e[: len(g)]) ** 2) / max(float(np.mean(e[: len(g)] ** 2)), 1e-12)))
            for g, e in zip(got, self._expected, strict=True)
        )

    @staticmethod
    def _run(network: Network, batches: Iterable[Inputs]) -> list[Array]:
        return [np.concatenate(arrays) for arrays in zip(*map(network, batches), strict=True)]


def _smoothing_scales(
    activations: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """SmoothQuant (Xiao et al., 2023): max|x|^alpha / max|w|^(1 - alpha) by channel, 1 where either is all zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scales = activations**SMOOTHING_ALPHA / weights ** (1 - SMOOTHING_ALPHA)
    return np.where((activations > 0) & (weights > 0), scales, 1).astype(np.float32)
