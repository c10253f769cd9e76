"""Weights of another network into a Recognizer, tensor by tensor, with a report of what fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from engine.network.fitting import bias_table, flow_kernel, gates, label_rows, picture_kernel
from engine.network.layouts import find_layout, source_names, unwrap
from engine.network.recognizer import Recognizer
from engine.network.swin import Size3

MIN_SHARE = 0.5  # of the backbone's values: with less, training from nothing is as good and the report misleads
COUNTERS = "num_batches_tracked"  # of batch norms: nothing reads them
REBUILT = ("relative_position_index", "attn_mask")  # published files hold them; here they are made from sizes


class PretrainedError(ValueError):
    """Weights that are not for this network."""


@dataclass
class LoadReport:
    """Names in the Recognizer's own terms, but for `unused`, which are the file's.

    adapted: loaded after a change, and which. mismatched: the file has the tensor, but in a shape that cannot be
    used (a classifier for other labels). missing: nothing was found; initial values stay. share: of the values of
    stem, stages and last norm, how many were found (the classifiers and the memory are not counted).
    """

    loaded: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    mismatched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    share: float = 0.0

    @property
    def lines(self) -> list[str]:
        """For people: what was found, then a line for each way in which the rest was treated."""
        lines = [f"{self.share:.0%} of the backbone found; {len(self.loaded)} tensors loaded as they are"]
        for how in dict.fromkeys(self.adapted.values()):
            lines.append(f"adapted, {how}: {_names([name for name, h in self.adapted.items() if h == how])}")
        for what, names in (
            ("begins anew, other shape", self.mismatched),
            ("begins anew, not in the file", self.missing),
            ("left over in the file", self.unused),
        ):
            if names:
                lines.append(f"{what}: {_names(names)}")
        return lines

    def __str__(self) -> str:
        return "; ".join(self.lines)


class Fitted(NamedTuple):
    """A tensor in the shape that is needed. how: what was done to it, in words; empty: nothing."""

    tensor: Tensor
    how: str = ""


Fit = Callable[[str, Tensor, Tensor], Fitted | None]  # name, source, target


def load_published(model: Recognizer, state_dict: Mapping[str, Tensor]) -> LoadReport:
    """Copy what fits of a published Swin, Video Swin or Video Swin-CLSTM into `model` (see engine.network.layouts).

    Classifier: with K+1 rows taken as it is, with K rows for the K actions in order. Raises PretrainedError if the
    names are of no known layout, or less than MIN_SHARE of the backbone is found.
    """
    tensors = unwrap(state_dict)
    layout = find_layout(tensors)
    if layout is None:
        some = ", ".join(list(state_dict)[:3]) or "none"
        raise PretrainedError(
            f"none of its {len(state_dict)} names ({some}, ...) is of a network known here: torchvision's swin3d, Swin "
            "in 2-D (official or timm), Video Swin or Swin-CLSTM (mmaction2), or a checkpoint or bundle of swinstream"
        )
    labels, window = model.spec.labels, model.spec.network.window

    def fit(name: str, source: Tensor, target: Tensor) -> Fitted | None:
        if ".cell." in name:
            ordered = gates(source, name.rpartition(".cell.")[2], target)
            return ordered if ordered is None else Fitted(ordered, "gates put in order")
        if name.startswith("head.") and source.shape[0] == len(labels) - 1:
            rows = label_rows(source, target, labels, labels[:-1])
            return None if rows is None else Fitted(rows[0], "its rows taken for the actions in order, none is new")
        return _fit(name, source, target, window, None)

    return _copy(model, tensors, source_names(model, layout, tensors), fit)


def load_own(
    model: Recognizer, tensors: Mapping[str, Tensor], labels: Sequence[str] | None, window: Size3 | None
) -> LoadReport:
    """Copy what fits of another Recognizer of `labels` and attention `window` (None: not known) into `model`.

    Classifiers for other labels keep the rows of labels of the same name. Raises PretrainedError if less than
    MIN_SHARE of the backbone fits.
    """
    names = {name: name for name in model.state_dict()}
    if "stem.flow_proj.weight" not in tensors:
        names["stem.flow_proj.weight"] = "stem.proj.weight"
    wanted = model.spec.labels

    def fit(name: str, source: Tensor, target: Tensor) -> Fitted | None:
        if name.startswith(("head.", "memory_head.")) and labels is not None and tuple(labels) != wanted:
            rows = label_rows(source, target, wanted, labels)
            return None if rows is None else Fitted(rows[0], f"rows of the same label ({', '.join(rows[1])})")
        return _fit(name, source, target, model.spec.network.window, window)

    return _copy(model, tensors, names, fit)


def _fit(name: str, source: Tensor, target: Tensor, window: Size3, source_window: Size3 | None) -> Fitted | None:
    """What is the same for every source."""
    if name == "stem.flow_proj.weight" and source.shape != target.shape:
        made = flow_kernel(source, target)
        return made if made is None else Fitted(made, "made from the projection of pictures")
    if source.shape == target.shape and not (
        name.endswith("relative_position_bias_table") and source_window not in (None, window)
    ):
        return Fitted(source)
    if name == "stem.proj.weight":
        inflated = picture_kernel(source, target)
        return inflated if inflated is None else Fitted(inflated, f"spread over {target.shape[2]} ticks")
    if name.endswith("relative_position_bias_table"):
        table = bias_table(source, target, window, source_window)
        return table if table is None else Fitted(table, f"fitted to windows of {'x'.join(map(str, window))} tokens")
    return None


def _copy(model: Recognizer, tensors: Mapping[str, Tensor], names: Mapping[str, str], fit: Fit) -> LoadReport:
    report = LoadReport()
    used: set[str] = set()
    backbone = found = 0
    with torch.no_grad():
        for name, target in model.state_dict().items():
            if name.endswith(COUNTERS):
                continue
            counted = _in_backbone(name) * target.numel()
            backbone += counted
            key = names.get(name)
            if key is None or (source := tensors.get(key)) is None:
                report.missing.append(name)
                continue
            used.add(key)
            fitted = fit(name, source, target)
            if fitted is None:
                report.mismatched.append(f"{name} {list(source.shape)} for {list(target.shape)}")
                continue
            target.copy_(fitted.tensor)
            found += counted
            if fitted.how:
                report.adapted[name] = fitted.how
            else:
                report.loaded.append(name)
    report.unused = [n for n in tensors if n not in used and not n.endswith((*REBUILT, COUNTERS))]
    report.share = found / backbone
    if report.share < MIN_SHARE:
        raise PretrainedError(
            f"only {report.share:.0%} of the backbone of model '{model.spec.name}' is in it: it is for a network of "
            f"another shape ({_names(report.mismatched or report.missing)})"
        )
    return report


def _in_backbone(name: str) -> bool:
    return not (name.startswith(("head.", "memory.", "memory_head.")) or ".cell." in name or name.endswith(".gamma"))


def _names(names: Sequence[str]) -> str:
    """The first three, and how many more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
