"""A trained Recognizer to ONNX, and to a whole bundle. Needs torch, as all of engine.network does."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from engine.bundle import Bundle, save_bundle
from engine.narrow import narrowed
from engine.network.recognizer import Recognizer
from engine.network.weights import round_weights, to_arrays
from engine.parity import Reference
from engine.spec import ModelSpec

OPSET = 20  # the first with Gelu as one node
TRACED_BATCH = 2
FORBIDDEN = frozenset({"ScatterND", "ScatterElements", "NonZero", "Shape", "Range", "ConstantOfShape", "Loop", "If"})


class ExportError(RuntimeError):
    """The exporter's graph is not one that every engine runs."""


class _Window(nn.Module):
    """One window with flat inputs, in the order of `ModelSpec.inputs`."""

    def __init__(self, model: Recognizer) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        picture, *others = inputs
        if self.model.spec.flow_ticks:
            flow, *state = others
        else:  # nothing to see: the graph has no input `flow`
            flow, state = torch.zeros((1, 0, 2, 1, 1), dtype=torch.float16), others
        logits, new_state = self.model(picture, flow, state)
        return [logits, *new_state]


def export_onnx(model: Recognizer, path: Path) -> None:
    """Write `model` as float32 ONNX with the tensors of `ModelSpec.inputs` and `.outputs`, and a dynamic batch N.

    Weights that float16 holds exactly are stored as that, see `engine.narrow`.
    It is traced with a batch of fixed size, which takes less than half as long as with a symbolic one, and the batch
    is made dynamic in the graph.
    Raises ExportError if the graph holds shape arithmetic or scatters, which some engine refuses.
    """
    spec = model.spec
    inputs = [torch.zeros((TRACED_BATCH, *t.shape), dtype=getattr(torch, t.dtype)) for t in spec.inputs]
    was_training = model.training
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells of each optional package that it did not find
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's own deprecations inside its exporter
            program = torch.onnx.export(
                _Window(model.eval()),
                (inputs,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[t.name for t in spec.inputs],
                output_names=[t.name for t in spec.outputs],
                verbose=False,
            )
    finally:
        logger.setLevel(level)
        model.train(was_training)
    assert program is not None
    graph = program.model_proto
    _strip(graph)
    _free_batch(graph)
    check_graph(narrowed(graph), spec)
    onnx.save(graph, path)


def _free_batch(model: onnx.ModelProto) -> None:
    """Make the batch N of any size: it leads every tensor, so in every reshape the first size is the one left open."""
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    open_shapes: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        if node.op_type == "Reshape" and -1 not in shapes[node.input[1]][1:]:
            name = f"{node.input[1]}_open"
            size = shapes[node.input[1]].copy()
            size[:1] = -1
            open_shapes[name] = numpy_helper.from_array(size, name)
            node.input[1] = name
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend((*kept, *open_shapes.values()))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"


def _strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes of this machine: stack traces and file paths."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for initializer in model.graph.initializer:
        del initializer.metadata_props[:]


def check_graph(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Raise ExportError unless the graph is valid, has the spec's tensors, and no forbidden operation."""
    onnx.checker.check_model(model, full_check=True)
    found = sorted(FORBIDDEN & {node.op_type for node in model.graph.node})
    if found:
        raise ExportError(f"the graph of '{spec.name}' holds {', '.join(found)}: sizes must be fixed when it is built")
    for kind, values, tensors in (
        ("inputs", model.graph.input, spec.inputs),
        ("outputs", model.graph.output, spec.outputs),
    ):
        got = [(v.name, *(d.dim_value for d in v.type.tensor_type.shape.dim[1:])) for v in values]
        expected = [(t.name, *t.shape) for t in tensors]
        if got != expected:
            raise ExportError(f"the graph of '{spec.name}' has {kind} {got}, expected {expected}")


@torch.no_grad()
def reference(model: Recognizer, picture: npt.NDArray[np.uint8], flow: npt.NDArray[np.float16]) -> Reference:
    """What torch says of consecutive windows, picture uint8 [W, Tp, H, W, 3], flow float16 [W, Tf, 2, H, W]."""
    was_training = model.training
    model.eval()
    state = model.initial_state(1)
    logits, states = [], []
    for window in range(len(picture)):
        rows = slice(window, window + 1)
        y, state = model(torch.from_numpy(picture[rows]), torch.from_numpy(flow[rows]), state)
        logits.append(y)
        states.append(state)
    model.train(was_training)
    stacked = [torch.cat(tensors).numpy() for tensors in zip(*states, strict=True)]
    return Reference(picture, flow, torch.cat(logits).numpy(), stacked)


def export_bundle(
    model: Recognizer,
    path: Path,
    *,
    picture: npt.NDArray[np.uint8],
    flow: npt.NDArray[np.float16],
    thresholds: Mapping[str, Any],
    card: str,
    half: bool = True,
) -> Bundle:
    """Write `model` as a bundle at `path` and load it again.

    picture, flow: at least `engine.parity.MIN_WINDOWS` consecutive windows, see `reference`. half: store
    weights as float16, in the graph too; the model is rounded first, in place, so that weights, graph and reference
    are of one network.
    """
    if half:
        round_weights(model)
    with TemporaryDirectory() as folder:
        graph = Path(folder) / "network.onnx"
        export_onnx(model, graph)
        return save_bundle(
            path,
            model.spec,
            weights=to_arrays(model, half=half),
            graphs={"fp32": graph},
            reference=reference(model, picture, flow),
            thresholds=thresholds,
            card=card,
        )
