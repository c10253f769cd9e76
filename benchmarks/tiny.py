"""The published size as a bundle to time: Video Swin-T with a ConvLSTM at its end, 101 labels, untrained.

    python -m benchmarks.tiny runs/tiny [--ticks 16] [--size 112x112]
    swinstream bench engine runs/tiny

It knows nothing. Its int8 graph has every layer in int8, with ranges of noise: fast as a trained one's, and wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from calibration import graph
from calibration.network import zero_states
from calibration.rewrite import rewrite
from calibration.search import collect_ranges
from engine.bundle import Bundle
from engine.export import export_bundle
from engine.narrow import narrowed
from engine.network.recognizer import Recognizer
from engine.parity import MIN_WINDOWS
from engine.spec import ModelSpec, NetworkSpec

LABELS = 101


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder of the bundle")
    parser.add_argument("--ticks", type=int, default=16)
    parser.add_argument("--size", default="112x112", metavar="WxH")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    spec = ModelSpec(
        name="tiny", version="1", labels=(*(f"label-{n}" for n in range(LABELS)), "none"), modality="rgb",
        ticks=options.ticks, rate_hz=12.0, height=height, width=width, network=NetworkSpec(memory="head"),
    )  # fmt: skip
    bundle = make(spec, options.out)
    print(f"{bundle.path}: {bundle.name}, {', '.join(bundle.precisions)}")


def make(spec: ModelSpec, out: Path) -> Bundle:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (MIN_WINDOWS, len(spec.picture_ticks), spec.height, spec.width, 3), dtype=np.uint8)
    flow = np.zeros((MIN_WINDOWS, len(spec.flow_ticks), 2, spec.height, spec.width), np.float16)
    thresholds, card = {"temperature": 1.0}, "# tiny\n\nUntrained, to time.\n"
    model = Recognizer(spec).eval()
    bundle = export_bundle(model, out, picture=picture, flow=flow, thresholds=thresholds, card=card)
    return rewrite(bundle, {"network.int8.onnx": _int8(bundle, picture[:1])})


def _int8(bundle: Bundle, picture: npt.NDArray[np.uint8]) -> bytes:
    """The graph with every layer in int8, each as far as the values reach in one window."""
    model = graph.load(str(bundle.onnx()))
    layers = graph.layers(model)
    tensors = list(dict.fromkeys(layer.activation for layer in layers))
    ranges = collect_ranges(model, bundle.spec, tensors, [[picture, *zero_states(bundle.spec)]])
    limits = {tensor: ranges.limits(tensor)["min-max"] for tensor in tensors}
    made = onnx.load_model_from_string(graph.quantised(model, limits, layers))
    return bytes(narrowed(made).SerializeToString())


if __name__ == "__main__":
    main()
