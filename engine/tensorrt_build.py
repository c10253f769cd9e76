"""ONNX to a TensorRT plan: TensorRT 11 on the GPU it is for, TensorRT for RTX anywhere. Their APIs agree.

Networks are strongly typed: the types in the graph are those that are computed in. Each batch size has an
optimisation profile of its own, of exactly that size, so its kernels are chosen for it.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from engine.runtime.base import EngineError
from engine.spec import ModelSpec

TensorRTTarget = Literal["tensorrt", "tensorrt-rtx"]
LIBRARIES: dict[TensorRTTarget, tuple[str, str]] = {
    "tensorrt": ("tensorrt", "pip install 'swinstream[gpu]' on a machine with an NVIDIA GPU"),
    "tensorrt-rtx": ("tensorrt_rtx", "pip install tensorrt-rtx-cu13"),
}
RTX_CAPABILITIES = (75, 80, 86, 89, 120)

log = logging.getLogger(__name__)


class BuildProgress(Protocol):
    """Told of the builder's phases, which nest and may run side by side."""

    def start(self, phase: str, parent: str | None, steps: int) -> None: ...

    def step(self, phase: str, step: int) -> bool:
        """False: stop building."""

    def finish(self, phase: str) -> None: ...


@dataclass(frozen=True)
class TensorRTOptions:
    """capabilities: GPUs that an RTX engine is for, for example (86, 89); none for TensorRT: the GPU that is here.

    workspace_mib: memory that the builder may plan with; None: as much as there is. version_compatible: newer
    TensorRT of the same major version may run it. hardware_compatible: any GPU from Ampere on may, more slowly.
    """

    capabilities: tuple[int, ...] = ()
    workspace_mib: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False

    def labels(self) -> tuple[str, ...]:
        """For the cache key: what changes the plan's meaning (the workspace changes its speed, so it counts too)."""
        return tuple(
            f"{name}={value}"
            for name, value in (
                ("workspace_mib", self.workspace_mib),
                ("version_compatible", self.version_compatible),
                ("hardware_compatible", self.hardware_compatible),
            )
            if value
        )


def load_library(target: TensorRTTarget) -> Any:
    """The module `tensorrt` or `tensorrt_rtx`. Raises EngineError, saying how to get it."""
    name, how = LIBRARIES[target]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(f"{name} is not installed ({error}): {how}") from error


class Messages:
    """The library's log as Python's, and its last errors, which say more than its return values."""

    def __init__(self, trt: Any) -> None:
        self.errors: list[str] = []
        outer = self

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity == trt.ILogger.ERROR:
                    outer.errors.append(message)
                level = {trt.ILogger.WARNING: logging.DEBUG, trt.ILogger.ERROR: logging.DEBUG}.get(severity, 5)
                log.log(level, "%s", message)

        self.logger = Logger()

    def last(self) -> str:
        return " ".join(self.errors[-1].split()) if self.errors else "it gives no reason"


def build_plan(
    graph: bytes,
    spec: ModelSpec,
    target: TensorRTTarget,
    batches: Sequence[int],
    options: TensorRTOptions,
    *,
    timing_cache: Path | None = None,
    progress: BuildProgress | None = None,
) -> bytes:
    """The plan of an ONNX graph for batches of exactly these sizes.

    timing_cache: file that is read and written, so that a second build of a like network is quicker; TensorRT for RTX
    times nothing. Raises EngineError with the library's own words where the graph is refused or cannot be built.
    """
    trt = load_library(target)
    messages = Messages(trt)
    builder = trt.Builder(messages.logger)
    if builder is None:
        raise EngineError(f"{target} cannot build here: {messages.last()}")
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, messages.logger)
    if not parser.parse(graph):
        raise EngineError(f"{target} refuses the graph of '{spec.name}': {' '.join(str(parser.get_error(0)).split())}")
    config = builder.create_builder_config()
    for batch in batches:
        profile = builder.create_optimization_profile()
        for tensor in spec.inputs:
            shape = (batch, *tensor.shape)
            profile.set_shape(tensor.name, shape, shape, shape)
        config.add_optimization_profile(profile)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    _set_options(trt, config, target, options)
    if progress is not None:
        config.progress_monitor = _monitor(trt, progress)
    cache = None
    if timing_cache is not None and target == "tensorrt":
        cache = config.create_timing_cache(timing_cache.read_bytes() if timing_cache.exists() else b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{target} cannot build '{spec.name}': {messages.last()}")
    if cache is not None and timing_cache is not None:
        timing_cache.parent.mkdir(parents=True, exist_ok=True)
        timing_cache.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def layer_report(plan: bytes, target: TensorRTTarget) -> list[dict[str, Any]]:
    """Each layer of a plan as the library's inspector describes it. Needs the GPU that the plan is for."""
    trt = load_library(target)
    messages = Messages(trt)
    engine = trt.Runtime(messages.logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"{target} cannot load its own plan: {messages.last()}")
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    layers: list[dict[str, Any]] = json.loads(text)["Layers"]
    return layers


def _set_options(trt: Any, config: Any, target: TensorRTTarget, options: TensorRTOptions) -> None:
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if target == "tensorrt":
        if options.hardware_compatible:
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        return
    config.num_compute_capabilities = len(options.capabilities)
    for index, capability in enumerate(options.capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability}"), index)


def _monitor(trt: Any, progress: BuildProgress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        phase_start: Callable[..., None] = staticmethod(progress.start)
        phase_finish: Callable[..., None] = staticmethod(progress.finish)
        step_complete: Callable[..., bool] = staticmethod(progress.step)

    return Monitor()
