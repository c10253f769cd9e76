"""What a process computes on: its device, its threads, and in which precision."""

from __future__ import annotations

from typing import Literal

import torch

from train.config import TrainConfig, TrainError


def pick_device(config: TrainConfig, local_rank: int = 0) -> torch.device:
    """The GPU of this machine's process number `local_rank`, or the CPU. Raises TrainError."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.device == "cpu" or (config.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TrainError("device: cuda was asked for, but torch sees no CUDA device; use cpu or auto")
    if local_rank >= torch.cuda.device_count():
        raise TrainError(f"there are {torch.cuda.device_count()} GPUs: start no more processes on this machine")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 itself: emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(value is True and name.endswith("bf16") for name, value in torch.cpu.get_capabilities().items())


def pick_precision(wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> torch.dtype:
    """torch.float32, or torch.bfloat16: then products and convolutions run in it, weights and sums stay float32."""
    if wanted == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    return torch.bfloat16 if wanted == "bf16" else torch.float32
