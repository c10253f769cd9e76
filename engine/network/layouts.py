"""How published checkpoints name what a Recognizer holds: three layouts that differ in names only.

torchvision         swin3d_t, _s, _b of torchvision.models.video
Swin                Swin-Transformer's own files (pictures) and Video-Swin-Transformer's and mmaction2's (clips), among
                    them the Video Swin-CLSTM of the paper, whose cells lie in `blocks.<i>.conv_lstm`
timm                a Swin of timm 0.9 or later, whose mergings lie at the start of a stage
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from engine.network.recognizer import Recognizer
from engine.network.swin import PatchMerging

WRAPPERS = ("module.", "backbone.")  # of data-parallel training, and of mmaction2's recognizers


class Layout(NamedTuple):
    """One family of names. block(stage, block) and merging(stage it leads into) give prefixes, counted from 0.

    mlp: the two linear layers of a block. norms, heads: names seen in the wild, the first that is there counts.
    """

    title: str
    block: Callable[[int, int], str]
    merging: Callable[[int], str]
    mlp: tuple[str, str]
    norms: tuple[str, ...] = ("norm",)
    heads: tuple[str, ...] = ("head",)


TORCHVISION = Layout(
    "torchvision's swin3d",
    block=lambda stage, block: f"features.{2 * stage}.{block}",
    merging=lambda stage: f"features.{2 * stage - 1}",
    mlp=("mlp.0", "mlp.3"),
)
SWIN = Layout(
    "Swin, Video Swin or mmaction2",
    block=lambda stage, block: f"layers.{stage}.blocks.{block}",
    merging=lambda stage: f"layers.{stage - 1}.downsample",
    mlp=("mlp.fc1", "mlp.fc2"),
    norms=("norm3", "norm"),  # mmaction2 numbers it by its stage
    heads=("cls_head.fc_cls", "head"),
)
TIMM = SWIN._replace(title="timm's Swin", merging=lambda stage: f"layers.{stage}.downsample", heads=("head.fc",))


def find_layout(names: Iterable[str]) -> Layout | None:
    """The layout that these (unwrapped) names are of; None: none of them."""
    present = set(names)
    if any(name.startswith("features.0.0.") for name in present):
        return TORCHVISION
    if not any(name.startswith("layers.0.blocks.0.") for name in present):
        return None
    return SWIN if any(name.startswith("layers.0.downsample.") for name in present) else TIMM


def unwrap(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what training frameworks put in front of them."""
    data_parallel, recognizer = WRAPPERS
    return {name.removeprefix(data_parallel).removeprefix(recognizer): t for name, t in state_dict.items()}


def source_names(model: Recognizer, layout: Layout, present: Mapping[str, Tensor]) -> dict[str, str]:
    """The Recognizer's parameter names -> the layout's, whether they are `present` or not.

    A cell's `input_gates` and `hidden_gates` both name the published joint convolution.
    """
    prefixes = {
        "stem.proj": "patch_embed.proj",
        "stem.norm": "patch_embed.norm",
        "norm": _first(layout.norms, present),
        "head": _first(layout.heads, present),
    }
    stage = block = 0
    for i, layer in enumerate(model.layers):
        if isinstance(layer, PatchMerging):
            stage, block = stage + 1, 0
            prefixes[f"layers.{i}"] = layout.merging(stage)
            continue
        published = layout.block(stage, block)
        first, second = layout.mlp
        for part in ("norm1", "attn", "norm2"):
            prefixes[f"layers.{i}.{part}"] = f"{published}.{part}"
        prefixes |= {f"layers.{i}.mlp.0": f"{published}.{first}", f"layers.{i}.mlp.3": f"{published}.{second}"}
        for gates in ("input_gates", "hidden_gates"):
            prefixes[f"layers.{i}.cell.{gates}"] = f"{published}.conv_lstm.cell_list.0.conv"
        block += 1
    names = {"stem.flow_proj.weight": "patch_embed.proj.weight"}
    for name, _ in model.named_parameters():
        for prefix, published in prefixes.items():
            if name.startswith(f"{prefix}."):
                names[name] = published + name.removeprefix(prefix)
    return names


def _first(prefixes: tuple[str, ...], present: Mapping[str, Tensor]) -> str:
    return next((prefix for prefix in prefixes if f"{prefix}.weight" in present), prefixes[0])
