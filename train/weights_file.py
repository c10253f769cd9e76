"""Tensors out of a file from anywhere: safetensors, or what torch.save wrote. Nothing in the file is executed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from train.config import TrainError

NESTED = ("state_dict", "model", "state_dict_ema", "module")  # where training frameworks keep the tensors


class WeightsFile(NamedTuple):
    """tensors: by name, on the CPU. meta: the JSON that a checkpoint of ours carries, else empty."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def read_weights(path: Path) -> WeightsFile:
    """Raises TrainError for a file that is not there, damaged, or holds anything but tensors and plain values."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror}") from error
    return _safetensors(path) if head[8:] == b"{" else _torch(path)  # a length in 8 bytes, then JSON


def _safetensors(path: Path) -> WeightsFile:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            meta = json.loads((file.metadata() or {}).get("meta", "{}"))
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise TrainError(f"{path}: a damaged safetensors file: {error}; fetch or write it again") from error
    return WeightsFile(tensors, meta)


def _torch(path: Path) -> WeightsFile:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its bytes lead torch to
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise TrainError(
                f"{path}: holds Python objects besides tensors, which could run code and are not loaded. If you trust "
                "its source, save only its tensors (mmaction2: tools/deployment/publish_model.py) and start from those"
            ) from error
        raise TrainError(
            f"{path}: neither safetensors nor a whole file of torch.save; fetch or write it again"
        ) from error
    tensors = _tensors(content)
    if not tensors:
        raise TrainError(f"{path}: holds no tensors by name")
    return WeightsFile(tensors, {})


def _tensors(content: object) -> dict[str, Tensor]:
    """The first mapping of names to tensors, at the top or where frameworks keep it."""
    if not isinstance(content, Mapping):
        return {}
    for key in NESTED:
        if found := _tensors(content.get(key)):
            return found
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
