"""Weights between a Recognizer and `weights.safetensors`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.bundle import Bundle, BundleError
from engine.network.recognizer import Recognizer


def to_arrays(model: Recognizer, half: bool = False) -> dict[str, npt.NDArray[Any]]:
    """Parameters and running statistics by name, float32 or (half) float16."""
    dtype = torch.float16 if half else torch.float32
    return {
        name: np.ascontiguousarray(tensor.detach().to("cpu", dtype).numpy())
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }


@torch.no_grad()
def round_weights(model: Recognizer) -> None:
    """Round parameters and statistics to float16 in place, so that what is stored is what was measured."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            rounded = tensor.half().to(tensor.dtype)
            if not torch.isfinite(rounded).all():
                raise ValueError(f"{name} holds values that float16 cannot: save the bundle with half=False")
            tensor.copy_(rounded)


def load_recognizer(bundle: Bundle, drop_path: float = 0.0, dropout: float = 0.0) -> Recognizer:
    """The bundle's network in torch, in eval mode. Raises BundleError if weights and model.yaml disagree."""
    model = Recognizer(bundle.spec, drop_path, dropout)
    arrays = bundle.weights_arrays()
    expected = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    wrong = sorted(expected.keys() ^ arrays.keys()) or sorted(
        name for name, tensor in expected.items() if arrays[name].shape != tuple(tensor.shape)
    )
    if wrong:
        raise BundleError(
            f"{bundle.weights()} does not belong to the network that model.yaml describes: {len(wrong)} tensors "
            f"differ, first {wrong[0]}; train or fetch the bundle again"
        )
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(torch.from_numpy(arrays[name].astype(np.float32)))
    return model.eval()
