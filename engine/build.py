"""A bundle's network compiled for one target, in the cache of engines: found there, or built.

The bundle holds the float32 graph, and the int8 graph once it has been calibrated. fp16 and bf16 graphs are made here,
the same every time, so a bundle stays small and one network has one source. On TensorRT what is not int8 in the int8
graph is fp16.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from engine.bundle import Bundle, BundleError
from engine.cache import EngineCache, EngineKey
from engine.runtime.base import EngineError, Precision
from engine.runtime.driver import find_gpu
from engine.runtime.openvino import compile_blob, device_identity
from engine.tensorrt_build import (
    RTX_CAPABILITIES,
    BuildProgress,
    TensorRTOptions,
    build_plan,
    load_library,
)

Target = Literal["tensorrt", "tensorrt-rtx", "openvino"]
DEFAULT_BATCHES = (1, 4, 16)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What an engine of a bundle is made for.

    batches: sizes that TensorRT's engines serve; OpenVINO's serve any number, window by window.
    """

    target: Target
    precision: Precision
    batches: tuple[int, ...] = DEFAULT_BATCHES
    options: TensorRTOptions = field(default_factory=TensorRTOptions)

    def complete(self) -> Recipe:
        """With the batches in order and the GPUs filled in. Raises EngineError for what the target cannot do."""
        batches = (1,) if self.target == "openvino" else tuple(sorted(set(self.batches)))
        options = _complete(self.target, self.precision, self.options)
        return replace(self, batches=batches, options=options)


@dataclass(frozen=True)
class Built:
    """An engine file. fresh: it was built now, not found."""

    key: EngineKey
    path: Path
    payload: bytes
    fresh: bool


def require_graph(bundle: Bundle, precision: str) -> None:
    """Raises BundleError, with the command that helps, where the bundle was not calibrated for int8."""
    if precision == "int8" and "int8" not in bundle.precisions:
        raise BundleError(
            f"model '{bundle.name}' in {bundle.path} has no int8 graph: `swinstream calibrate int8` makes one"
        )


def graph_for(bundle: Bundle, target: Target, precision: Precision) -> bytes:
    """The ONNX that a target compiles for a precision.

    Raises BundleError, with the command that helps, where the bundle was not calibrated for int8.
    """
    require_graph(bundle, precision)
    if target == "openvino":
        return bundle.onnx("int8" if precision == "int8" else "fp32").read_bytes()
    if precision == "fp32":
        return bundle.onnx().read_bytes()
    import onnx

    from engine.precision import to_half

    source = bundle.onnx("int8" if precision == "int8" else "fp32")
    half = to_half(onnx.load(source), "bf16" if precision == "bf16" else "fp16")
    return bytes(half.SerializeToString(deterministic=True))


def build_engine(
    bundle: Bundle,
    recipe: Recipe,
    *,
    cache: EngineCache | None = None,
    progress: BuildProgress | None = None,
    again: bool = False,
) -> Built:
    """The engine from the cache, or built and stored there. again: build it although it is there.

    Raises EngineError where this machine cannot build it.
    """
    cache, recipe = cache or EngineCache(), recipe.complete()
    target, precision = recipe.target, recipe.precision
    graph = graph_for(bundle, target, precision)
    key = engine_key(bundle, recipe, graph)
    payload = None if again else cache.load(key)
    if payload is not None:
        return Built(key, cache.path(key), payload, fresh=False)
    log.info("building the %s engine of '%s' in %s for %s", target, bundle.name, precision, key.device)
    if target == "openvino":
        payload = compile_blob(graph, bundle.spec, precision)
    else:
        timing = cache.folder / f"timing-{key.device_digest}.cache"
        payload = build_plan(
            graph, bundle.spec, target, recipe.batches, recipe.options, timing_cache=timing, progress=progress
        )
    return Built(key, cache.store(key, payload), payload, fresh=True)


def cached_blob(bundle: Bundle, precision: Precision) -> bytes | None:
    """What `swinstream build --target openvino` left for this machine, or None."""
    graph = graph_for(bundle, "openvino", precision)
    return EngineCache().load(engine_key(bundle, Recipe("openvino", precision, (1,)), graph))


def engine_key(bundle: Bundle, recipe: Recipe, graph: bytes) -> EngineKey:
    """The key of an engine, by its complete recipe, for this machine; of TensorRT for RTX, for the GPUs it names."""
    target, options = recipe.target, recipe.options
    if target == "openvino":
        library, device, driver = *device_identity(), ""
    else:
        trt = load_library(target)
        library = f"{trt.__name__} {trt.__version__}"
        if options.version_compatible:
            library = f"{trt.__name__} {trt.__version__.split('.')[0]}"
        if target == "tensorrt":
            gpu = find_gpu()
            device = "sm_80 or newer" if options.hardware_compatible else f"{gpu.name}, sm_{gpu.capability}"
            driver = gpu.driver
        else:  # compiled further when it is loaded
            device, driver = ", ".join(f"sm_{capability}" for capability in options.capabilities), ""
    return EngineKey(
        model=bundle.name,
        graph=hashlib.sha256(graph).hexdigest(),
        inputs=tuple(f"{t.name} {t.dtype} {['N', *t.shape]}" for t in bundle.spec.inputs),
        precision=recipe.precision,
        batches=recipe.batches,
        target=target,
        library=library,
        device=device,
        driver=driver,
        options=options.labels(),
    )


def _complete(target: Target, precision: Precision, options: TensorRTOptions) -> TensorRTOptions:
    """Options with the GPUs filled in. Raises EngineError for what the target cannot do."""
    if target != "tensorrt-rtx":
        if options.capabilities:
            raise EngineError(
                "--sm is for tensorrt-rtx: tensorrt builds for the GPU that is here, openvino for the CPU"
            )
        if target == "tensorrt":
            find_gpu()
        return options
    if options.hardware_compatible:
        raise EngineError("tensorrt-rtx engines name their GPUs: use --sm instead of --hardware-compatible")
    capabilities = tuple(sorted(set(options.capabilities))) or _rtx_capabilities(precision)
    unknown = [str(c) for c in capabilities if c not in RTX_CAPABILITIES]
    if unknown:
        known = ", ".join(map(str, RTX_CAPABILITIES))
        raise EngineError(
            f"TensorRT for RTX has no compute capability {', '.join(unknown)}, only {known}: use tensorrt"
        )
    if 75 in capabilities and precision in {"fp32", "bf16"}:
        raise EngineError(
            f"TensorRT for RTX computes no {precision} products on Turing (75): use fp16, or leave 75 out"
        )
    return TensorRTOptions(capabilities, options.workspace_mib, options.version_compatible)


def _rtx_capabilities(precision: Precision) -> tuple[int, ...]:
    """The GPU that is here, or, without one, all that the precision can be had on."""
    try:
        return (find_gpu().capability,)
    except EngineError:
        return tuple(c for c in RTX_CAPABILITIES if c != 75 or precision in {"fp16", "int8"})
