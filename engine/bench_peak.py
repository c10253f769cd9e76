"""The fastest matrix product of this machine: what a network's speed is a share of."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from engine.runtime.base import Precision

CPU_SIDE, GPU_SIDE = 2048, 8192
"""Of the square matrices: on a GPU the smaller one is over before a launch has cost nothing."""

ALIKE = 3  # half seconds that bring nothing better


class Peak:
    """Operations a second that one large matrix product reaches, by precision; measured when first asked.

    cuda: on the GPU, where fp32 may be computed in TF32, as TensorRT does.
    """

    def __init__(self, threads: int, cuda: bool = False) -> None:
        self._threads, self._cuda = threads, cuda
        self._measured: dict[Precision, float | None] = {}

    def __call__(self, precision: Precision) -> float | None:
        """None without torch, or where torch lacks the precision."""
        if precision not in self._measured:
            try:
                self._measured[precision] = self._measure(precision)
            except (ImportError, RuntimeError):
                self._measured[precision] = None
        return self._measured[precision]

    def _measure(self, precision: Precision) -> float:
        import torch

        torch.set_num_threads(self._threads)
        if self._cuda:
            torch.set_float32_matmul_precision("high")
        device, side = ("cuda", GPU_SIDE) if self._cuda else ("cpu", CPU_SIDE)
        if precision == "int8":
            a, b = (torch.ones((side, side), dtype=torch.int8, device=device) for _ in range(2))
            product: Callable[..., Any] = torch._int_mm
        else:
            dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
            a, b = (torch.rand((side, side), device=device).to(dtype) for _ in range(2))
            product = torch.mm

        def run() -> None:
            product(a, b)
            if self._cuda:
                torch.cuda.synchronize()

        best = min(call_times(run, 1.0))
        alike = 0
        while alike < ALIKE:  # beside other programs a second may be a slow one
            again = min(call_times(run, 0.5))
            alike = alike + 1 if again > 0.99 * best else 0
            best = min(best, again)
        return float(2 * side**3 / best)


def call_times(run: Callable[[], Any], seconds: float) -> list[float]:
    """Of each call, s: at least three calls, over about `seconds`; two calls before do not count."""
    run()
    run()
    times: list[float] = []
    end = time.monotonic() + seconds
    while len(times) < 3 or time.monotonic() < end:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return times
