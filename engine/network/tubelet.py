"""Tubelets: pictures and flow to the first token map.

A token covers a fixed pattern of ticks (see `engine.spec.TOKEN_PATTERNS`). Each modality has a
projection of its own over the ticks that the pattern gives it; where both are present, their results
meet once per token, so pictures and flow of one token always show the same moment.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.spec import ModelSpec

PATCH = 4
PICTURE_MEAN = (0.485, 0.456, 0.406)  # of 0..1 RGB: ImageNet's, with which published weights were trained
PICTURE_STD = (0.229, 0.224, 0.225)


class Normalisation(nn.Module):
    """uint8 pictures to zero mean and unit deviation. Flow stays in network pixels per tick: of order one."""

    scale: Tensor
    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = torch.tensor(PICTURE_MEAN), torch.tensor(PICTURE_STD)
        self.register_buffer("scale", (1 / (255 * std)).reshape(3, 1, 1, 1), persistent=False)
        self.register_buffer("offset", (-mean / std).reshape(3, 1, 1, 1), persistent=False)

    def forward(self, picture: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, Tp, H, W, 3] -> float32 [N, 3, Tp, H, W]; float16 [N, Tf, 2, H, W] -> float32 [N, 2, Tf, H, W]."""
        # To float first: TensorRT moves no bytes.
        pixels = picture.to(self.scale.dtype).permute(0, 4, 1, 2, 3) * self.scale + self.offset
        return pixels, flow.to(self.scale.dtype).permute(0, 2, 1, 3, 4)


class PatchStem(nn.Module):
    """Published patch embedding: a projection of 4x4 pixels by the pattern's ticks; [N, S, H/4, W/4, C].

    For `rgb` this is exactly Video Swin's Conv3d of kernel and stride 2x4x4. With flow, the two
    projections are added, which equals one projection of the stacked inputs.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        pictures, flows = len(spec.pattern.pictures), len(spec.pattern.flows)
        channels = spec.network.embed_dim
        kernel = (pictures, PATCH, PATCH)
        self.proj = nn.Conv3d(3, channels, kernel, stride=kernel)
        kernel = (flows, PATCH, PATCH)
        self.flow_proj = nn.Conv3d(2, channels, kernel, stride=kernel, bias=False) if flows else None
        self.norm = nn.LayerNorm(channels)

    def forward(self, pixels: Tensor, flow: Tensor) -> Tensor:
        x = self.proj(pixels)  # [N, C, S, H/4, W/4]
        if self.flow_proj is not None:
            x = x + self.flow_proj(flow)
        y: Tensor = self.norm(x.permute(0, 2, 3, 4, 1))
        return y


class ConvStem(nn.Module):
    """Strided convolutions in place of the patch projection: what little data needs (see facts).

    The first halves the picture and folds the pattern's ticks, each modality by itself into its share of
    the channels; the others are 3x3x3, halve the map and look one token to both sides in time, padded
    with zeros at the window's ends, so that nothing crosses a window. BatchNorm folds into the
    convolutions in a compiled engine.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        pictures, flows = len(spec.pattern.pictures), len(spec.pattern.flows)
        first, *others = spec.network.stem_channels
        flow_channels = first // 2 if flows else 0
        self.picture = _halve(3, first - flow_channels, pictures)
        self.flow = _halve(2, flow_channels, flows) if flows else None
        stages: list[nn.Module] = [nn.ReLU(inplace=True)]
        channels = first
        for wider in others:
            stages += [*_convolution(channels, wider, (3, 3, 3), stride=1, padding=1), nn.ReLU(inplace=True)]
            channels = wider
        self.stages = nn.Sequential(*stages)

    def forward(self, pixels: Tensor, flow: Tensor) -> Tensor:
        x = self.picture(pixels)  # [N, C, S, H/2, W/2]
        if self.flow is not None:
            x = torch.cat((x, self.flow(flow)), dim=1)
        y: Tensor = self.stages(x)
        return y.permute(0, 2, 3, 4, 1)  # [N, S, h, w, C]


class _Convolution(nn.Conv3d):
    """In float32 where torch 2.13 cannot do with less.

    On CPUs with bf16 the weights' gradient of a convolution over fewer tokens in time than its kernel is long is made
    of memory that nobody wrote: infinite, not a number, or just wrong.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.shape[2] < self.kernel_size[0] and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


def _halve(in_channels: int, channels: int, ticks: int) -> nn.Sequential:
    """The pattern's ticks to one token, the picture to half its size."""
    return nn.Sequential(*_convolution(in_channels, channels, (ticks, 3, 3), stride=ticks, padding=0))


def _convolution(
    in_channels: int, channels: int, kernel: tuple[int, int, int], stride: int, padding: int
) -> tuple[nn.Module, nn.Module]:
    """A convolution that halves the map, with its norm; stride and padding are those in time."""
    steps, pads = (stride, 2, 2), (padding, 1, 1)
    convolution = _Convolution(in_channels, channels, kernel, stride=steps, padding=pads, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution, nn.BatchNorm3d(channels)
