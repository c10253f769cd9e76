"""Where a window's time goes on OpenVINO, with and without int8, layer by layer: what int8 is worth here, and why.

    python -m benchmarks.int8_layers [BUNDLE] [--rest f32|bf16] [--runs 60] [--all]

One thread, both in turn. What is not in int8 is in f32, or in bf16, which engines choose where the CPU computes in it.
A node's time is its least of all runs, because what else the machine does only adds to it. A layer is a convolution or
a product with weights, which calibration could put in int8 (`calibration.graph.layers`); OpenVINO fuses bias and
activation into it. What is in between is given by kind of node.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from calibration import graph
from engine.bundle import Bundle
from engine.runtime.openvino import shared_core

PRODUCTS = {"Convolution", "FullyConnected", "FullyConnectedQuantizedLegacy", "MatMul"}


class Node(NamedTuple):
    """What OpenVINO executes. of: names of the graph's nodes that went into it. kernel: with its type of numbers."""

    kind: str
    kernel: str
    of: set[str]
    ms: float


class Profile:
    """One graph, compiled for one thread with counters."""

    def __init__(self, bundle: Bundle, precision: str, rest: str) -> None:
        core, spec = shared_core(), bundle.spec
        model = core.read_model(bundle.path / f"network.{precision}.onnx")
        model.reshape({t.name: [1, *t.shape] for t in spec.inputs})
        config = {"INFERENCE_PRECISION_HINT": rest, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERF_COUNT": True}
        compiled = core.compile_model(model, "CPU", config)
        self._request = compiled.create_infer_request()
        self._of = {
            op.friendly_name: {part.split("/")[0] for part in op.rt_info["originalLayersNames"].value.split(",")}
            for op in compiled.get_runtime_model().get_ops()
        }
        self._least: dict[str, Any] = {}

    def run(self, inputs: Mapping[str, Any]) -> None:
        self._request.infer(inputs)
        for info in self._request.get_profiling_info():
            known = self._least.get(info.node_name)
            if known is None or info.real_time < known.real_time:
                self._least[info.node_name] = info

    def nodes(self) -> list[Node]:
        return [
            Node(i.node_type, i.exec_type, self._of.get(name, set()), 1e3 * i.real_time.total_seconds())
            for name, i in self._least.items()
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("bundle", nargs="?", default="movements")
    parser.add_argument("--rest", choices=("f32", "bf16"), default="f32", help="the precision of what is not int8")
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--all", action="store_true", help="a line for every layer, not for every kind")
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    reference = bundle.reference()
    states = [array[:1] for array in reference.states]
    windows = [reference.picture[1:2], *([reference.flow[1:2]] if bundle.spec.flow_ticks else [])]
    inputs = dict(zip([t.name for t in bundle.spec.inputs], [*windows, *states], strict=True))
    profiles = [Profile(bundle, precision, options.rest) for precision in ("fp32", "int8")]
    for _ in range(options.runs):
        for profile in profiles:
            profile.run(inputs)
    print_table([profile.nodes() for profile in profiles], layers(bundle), options.rest, options.all)


def layers(bundle: Bundle) -> dict[str, graph.Layer]:
    """Layers by the name of their node, and by that of the addition behind it, after which OpenVINO may name both."""
    model = graph.load(str(bundle.onnx()))
    found = {layer.name: layer for layer in graph.layers(model)}
    makers = {node.output[0]: node.name for node in model.graph.node}
    for node in model.graph.node:
        behind = next((found[makers[name]] for name in node.input if makers.get(name) in found), None)
        if node.op_type == "Add" and behind is not None:
            found[node.name] = behind
    return found


def print_table(profiles: list[list[Node]], layers: Mapping[str, graph.Layer], rest: str, every: bool) -> None:
    """Layers by operator (or each), then what is no layer by kind of node, then the sum."""

    def layer_of(node: Node) -> graph.Layer | None:
        names = node.of & layers.keys() if node.kind in PRODUCTS else set()
        return layers[names.pop()] if names else None

    quantised = {layer_of(node) for node in profiles[1] if "8" in node.kernel}
    rows: dict[str, list[list[Node]]] = defaultdict(lambda: [[], []])
    for column, nodes in enumerate(profiles):
        for node in nodes:
            layer = layer_of(node)
            if layer is None:
                rows[f"between: {node.kind}"][column].append(node)
            else:
                name = f"{layer.operator} {layer.name}" if every else layer.operator
                rows[f"{name}, {'int8' if layer in quantised else f'left in {rest}'}"][column].append(node)
    table = Table("", f"{rest}, ms", "int8, ms", "nodes", f"{rest} by", "int8 by")
    for name, pair in sorted(rows.items(), key=lambda row: -sum(node.ms for node in row[1][0])):
        ms = [sum(node.ms for node in nodes) for nodes in pair]
        if max(ms) > 0:
            kernels = (", ".join(sorted({n.kernel for n in nodes if n.ms})) for nodes in pair)
            table.add_row(name, *(f"{x:.2f}" for x in ms), str(len(pair[0] or pair[1])), *kernels)
    table.add_row("sum", *(f"{sum(node.ms for node in nodes):.2f}" for nodes in profiles))
    Console().print(table)


if __name__ == "__main__":
    main()
