"""The same network in torch, eager and compiled, at its best: what a compiled engine stands beside.

On a GPU in fp16 and bf16 too, and compiled with CUDA graphs, as the engine is run. The convolutions' weights lie in
the order that is faster here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from engine.bench import Backend, Case
from engine.bench_peak import Peak, call_times
from engine.bundle import Bundle
from engine.network.weights import load_recognizer
from engine.runtime.base import EngineError, Precision
from engine.runtime.openvino import cpu_precision

_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
Run = Callable[[], None]


def measure_torch(
    bundle: Bundle,
    batches: Sequence[int],
    threads: int,
    seconds: float,
    peaks: tuple[Peak, Peak],
    begin: Callable[[Case], None],
) -> Iterator[Case]:
    """On the GPU where torch can use one, else on the CPU. peaks: of the CPU and of the GPU."""
    torch.set_num_threads(threads)
    cuda = torch.cuda.is_available()
    device, peak = ("cuda", peaks[1]) if cuda else ("cpu", peaks[0])
    if cuda:
        torch.set_float32_matmul_precision("high")  # TF32, as TensorRT
    named = torch.cuda.get_device_name() if cuda else f"CPU, {threads} thread{'s' if threads > 1 else ''}"
    model = load_recognizer(bundle).to(device)
    layouts = {"": model, ", channels last": _channels_last(deepcopy(model))}
    precisions: list[Precision] = ["fp32", "fp16", "bf16"] if cuda else ["fp32", "bf16"]
    for precision in precisions:
        if lacking := _lacking(precision, cuda):
            yield Case(bundle.name, "torch eager", precision, max(batches), reason=lacking)
            continue
        best: dict[int, str] = {}
        backends: tuple[Backend, ...] = ("torch eager", "torch compiled")
        for backend in backends:
            for batch in batches:
                case = Case(bundle.name, backend, precision, batch)
                begin(case)
                try:
                    with torch.autocast(device, _DTYPES[precision], enabled=precision != "fp32"):
                        if backend == "torch eager":
                            runs = {layout: _run(m, bundle, batch, device) for layout, m in layouts.items()}
                            best[batch] = min(runs, key=lambda layout: min(call_times(runs[layout], 0)))
                            run = runs[best[batch]]
                        else:
                            run = _run(_compiled(layouts[best[batch]], cuda), bundle, batch, device)
                        yield case.measured(bundle, run, seconds, peak, named + best[batch])
                except (RuntimeError, ImportError) as error:  # no C++ compiler, for one
                    yield replace(case, reason=str(error).strip().splitlines()[0])
                    break


def _lacking(precision: Precision, cuda: bool) -> str:
    """Why there is nothing to measure in a precision; empty where there is."""
    if precision != "bf16":
        return ""
    if cuda:
        return "" if torch.cuda.is_bf16_supported() else f"{torch.cuda.get_device_name()} does not compute in bf16"
    try:
        cpu_precision("bf16")
    except EngineError as error:
        return str(error)
    return ""


def _channels_last(model: nn.Module) -> nn.Module:
    orders = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in model.parameters():
        if parameter.dim() in orders:
            parameter.data = parameter.data.contiguous(memory_format=orders[parameter.dim()])
    return model


def _compiled(model: nn.Module, cuda: bool) -> Any:
    """Compiled anew: what was compiled for other sizes counts towards the most that torch keeps of one function."""
    torch.compiler.reset()
    return torch.compile(model, dynamic=False, mode="reduce-overhead" if cuda else None)


def _run(forward: Any, bundle: Bundle, batch: int, device: str) -> Run:
    """Computes a batch of windows that lie on the device."""
    reference = bundle.reference()
    rows = [i % len(reference.picture) for i in range(batch)]
    picture, flow = (torch.from_numpy(x[rows]).to(device) for x in (reference.picture, reference.flow))
    shapes = bundle.spec.state_tensors
    state = [torch.zeros(batch, *tensor.shape, device=device) for tensor in shapes]

    def run() -> None:
        with torch.inference_mode():
            forward(picture, flow, state)
        if device == "cuda":
            torch.cuda.synchronize()

    return run
