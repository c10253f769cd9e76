"""Weights of torchvision's `swin3d_t` (and its larger kin) into a Recognizer, with a report of what fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.network.recognizer import Recognizer
from engine.network.swin import PatchMerging, Size3

PUBLISHED_WINDOW: Size3 = (8, 7, 7)
BIAS_TABLE = "relative_position_bias_table"


class PretrainedError(ValueError):
    """A state dict that has nothing for this network."""


@dataclass
class LoadReport:
    """Names in the Recognizer's own terms, but for `unused`, which are the state dict's.

    resized: loaded after a change of size. mismatched: the state dict has the tensor, but of a shape that
    cannot be used (a classifier for other labels). missing: nothing was found; initial values stay.
    """

    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for what in ("resized", "mismatched", "missing", "unused"):
            names: list[str] = getattr(self, what)
            if names:
                parts.append(f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
        return "; ".join(parts)


def load_swin3d(model: Recognizer, state_dict: Mapping[str, Tensor]) -> LoadReport:
    """Copy what fits of torchvision's state dict into `model`.

    A projection of two pictures to a token becomes, where the modality has one picture, their sum (right
    for a still picture); a position bias for another window is interpolated. Raises PretrainedError if
    nothing fits.
    """
    report = LoadReport()
    names = _published_names(model)
    used = set()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            published = names.get(name)
            source = None if published is None else state_dict.get(published)
            if source is None or published is None:
                report.missing.append(name)
                continue
            used.add(published)
            fitted = _fit(source, tensor, model.spec.network.window)
            if fitted is None:
                report.mismatched.append(f"{name} {list(source.shape)} for {list(tensor.shape)}")
                continue
            tensor.copy_(fitted)
            (report.loaded if source.shape == tensor.shape else report.resized).append(name)
    report.unused = [n for n in state_dict if n not in used and not n.endswith("relative_position_index")]
    if not report.loaded and not report.resized:
        raise PretrainedError(
            f"none of the {len(state_dict)} tensors fits model '{model.spec.name}': expected the state dict of "
            "torchvision.models.video.swin3d_t, with names such as patch_embed.proj.weight"
        )
    return report


def _published_names(model: Recognizer) -> dict[str, str]:
    """Our parameter name -> torchvision's."""
    prefixes = {"stem.proj": "patch_embed.proj", "stem.norm": "patch_embed.norm", "norm": "norm", "head": "head"}
    part = block = 0  # torchvision numbers stages and mergings in one sequence, and blocks within a stage
    for i, layer in enumerate(model.layers):
        if isinstance(layer, PatchMerging):
            prefixes[f"layers.{i}"] = f"features.{part + 1}"
            part, block = part + 2, 0
        else:
            prefixes[f"layers.{i}"] = f"features.{part}.{block}"
            block += 1
    names = {}
    for name, _ in model.named_parameters():
        for prefix, published in prefixes.items():
            if name.startswith(f"{prefix}."):
                names[name] = published + name.removeprefix(prefix)
    return names


def _fit(source: Tensor, target: Tensor, window: Size3) -> Tensor | None:
    """`source` in the shape of `target`, or None where there is no right way."""
    if source.shape == target.shape:
        return source
    if source.ndim == 5 and target.shape[2] == 1 and source.shape[:2] == target.shape[:2]:
        summed = source.sum(dim=2, keepdim=True)
        return summed if summed.shape == target.shape else None
    if source.ndim == 2 and target.ndim == 2 and source.shape[1] == target.shape[1]:
        sizes = [[2 * w - 1 for w in win] for win in (PUBLISHED_WINDOW, window)]
        rows = [a * b * c for a, b, c in sizes]
        if [source.shape[0], target.shape[0]] == rows:  # [offsets, heads]
            grid = source.T.reshape(1, -1, *sizes[0])
            grid = F.interpolate(grid, size=sizes[1], mode="trilinear", align_corners=True)
            return grid.reshape(source.shape[1], -1).T
    return None
