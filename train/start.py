"""Where training starts from: weights in a local file or a bundle, with a report of what fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import torch

from engine.bundle import MODEL, Bundle, BundleError, shipped
from engine.network.pretrained import LoadReport, PretrainedError, load_own, load_published
from engine.network.recognizer import Recognizer
from engine.network.swin import Size3
from engine.spec import NetworkSpec
from train.config import TrainError
from train.weights_file import read_weights

OWN = "stem."  # every Recognizer has such names, and no published layout does
CHECKPOINT = "model."  # a run's checkpoint holds the weights under this, beside their average and the optimizer


@dataclass(frozen=True)
class StartReport:
    """source: what the weights are of, in words. fitted: what became of each tensor."""

    source: str
    fitted: LoadReport

    @property
    def lines(self) -> list[str]:
        """For people."""
        first, *others = self.fitted.lines
        return [f"starting from {self.source}: {first}", *(f"  {line}" for line in others)]


def load_start(start: str, model: Recognizer) -> StartReport:
    """Put the weights that `start` names into `model`: a bundle's name or folder, or a file.

    A file is a checkpoint of a run of ours (its weights, not their average, which lags behind), or published
    weights (see engine.network.layouts). Raises TrainError: not found, unreadable, unsafe, or for another network.
    """
    path = Path(start).expanduser()
    try:
        if start in shipped() or path.is_dir():
            return _bundle(start, model)
        if (path.parent / MODEL).is_file():  # a bundle's weights.safetensors
            return _bundle(str(path.parent), model)
        return _file(path, model)
    except (BundleError, PretrainedError) as error:
        raise TrainError(f"start: {start}: {error}") from error
    except TrainError as error:
        raise TrainError(f"start: {error}") from error


def _bundle(name: str, model: Recognizer) -> StartReport:
    bundle = Bundle.load(name)
    tensors = {name: torch.from_numpy(array) for name, array in bundle.weights_arrays().items()}
    report = load_own(model, tensors, bundle.spec.labels, bundle.spec.network.window)
    return StartReport(f"model '{bundle.name}' in {bundle.path}", report)


def _file(path: Path, model: Recognizer) -> StartReport:
    tensors, meta = read_weights(path)
    own = {name.removeprefix(CHECKPOINT): tensor for name, tensor in tensors.items() if name.startswith(CHECKPOINT)}
    if any(name.startswith(OWN) for name in own):
        step = f" at step {meta['step']}" if "step" in meta else ""
        return StartReport(f"checkpoint {path}{step}", load_own(model, own, *_trained_for(meta.get("config", {}))))
    if any(name.startswith(OWN) for name in tensors):
        return StartReport(f"weights {path}", load_own(model, tensors, None, None))
    return StartReport(f"weights {path}", load_published(model, tensors))


def _trained_for(identity: Mapping[str, Any]) -> tuple[list[str] | None, Size3 | None]:
    """Labels and attention window of a checkpoint's configuration, see `TrainConfig.identity`; None where not kept."""
    labels = _listed(identity, "model.labels")
    if not labels:
        return None, None
    steps, rows, columns = _listed(identity, "model.network.window") or NetworkSpec().window
    return labels, (steps, rows, columns)


def _listed(identity: Mapping[str, Any], key: str) -> list[Any]:
    return [identity[f"{key}.{i}"] for i in takewhile(lambda i: f"{key}.{i}" in identity, count())]
