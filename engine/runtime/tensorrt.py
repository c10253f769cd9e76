"""TensorRT on an NVIDIA GPU: plans from the cache of engines, run by ResidentEngine on a CudaDevice.

All batch sizes share one plan, and, since they run one after the other on one stream, the memory for what lies
between layers. Each has an execution context of its own, because a recorded CUDA graph belongs to its context.
"""

from __future__ import annotations

from typing import Any

from engine.build import Built, Recipe, build_engine
from engine.bundle import Bundle
from engine.cache import EngineCache
from engine.runtime.base import EngineError, EngineInfo
from engine.runtime.cuda import CudaDevice, require_libraries
from engine.runtime.driver import GPU, find_gpu
from engine.runtime.resident import ResidentEngine
from engine.tensorrt_build import (
    RTX_CAPABILITIES,
    Messages,
    TensorRTTarget,
    load_library,
)


def choose_library() -> TensorRTTarget:
    """TensorRT, or TensorRT for RTX where only that is installed and knows the GPU.

    Raises EngineError, saying what is missing, in the order in which it must be got.
    """
    gpu = find_gpu()
    target: TensorRTTarget = "tensorrt"
    try:
        load_library("tensorrt")
    except EngineError as error:
        if gpu.capability not in RTX_CAPABILITIES:
            raise
        try:
            load_library("tensorrt-rtx")
        except EngineError:
            raise error from None
        target = "tensorrt-rtx"
    require_libraries()
    return target


def open_tensorrt(
    bundle: Bundle, recipe: Recipe, *, cache: EngineCache | None = None, reason: str = ""
) -> ResidentEngine:
    """The bundle's engine on this machine's GPU: from the cache, or built now, which takes minutes.

    Raises EngineError where it cannot be had: no driver, no GPU, a library missing, too little memory.
    """
    gpu = find_gpu()
    return load_engine(bundle, build_engine(bundle, recipe, cache=cache), recipe, gpu, reason)


def load_engine(bundle: Bundle, built: Built, recipe: Recipe, gpu: GPU, reason: str = "") -> ResidentEngine:
    """An engine file on a GPU that is there. Raises EngineError if the library refuses it."""
    if recipe.target == "openvino":
        raise EngineError(f"an engine of openvino does not run on {gpu}")
    trt = load_library(recipe.target)
    device = CudaDevice(gpu)
    try:
        device.require(len(built.payload), f"the engine of '{bundle.name}'")
        messages = Messages(trt)
        runtime = trt.Runtime(messages.logger)
        engine = runtime.deserialize_cuda_engine(built.payload)
        if engine is None:
            raise EngineError(f"{built.path} does not load on {gpu}: {messages.last()}; delete it to build it again")
        scratch = device.allocate(engine.device_memory_size_v2)
        plan = _Plan(trt, runtime, engine, messages)
        networks = {
            batch: TensorRTNetwork(plan, bundle, profile, batch, scratch, device.stream)
            for profile, batch in enumerate(built.key.batches)
        }
        device_name = f"{gpu.name} ({built.key.library})"
        info = EngineInfo("tensorrt", recipe.precision, device_name, reason, batch=max(built.key.batches))
        return ResidentEngine(bundle.spec, info, device, networks)
    except BaseException:
        device.close()
        raise


class _Plan:
    """A loaded plan, and what must live as long as it does."""

    def __init__(self, trt: Any, runtime: Any, engine: Any, messages: Messages) -> None:
        self.trt, self.runtime, self.engine, self.messages = trt, runtime, engine, messages


class TensorRTNetwork:
    """Implements Network: an execution context for one batch size."""

    def __init__(self, plan: _Plan, bundle: Bundle, profile: int, batch: int, scratch: int, stream: int) -> None:
        """scratch: address of memory of `device_memory_size_v2` bytes, which no other context uses meanwhile."""
        self._plan, self._stream = plan, stream
        strategy = plan.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._context = plan.engine.create_execution_context(strategy)
        if self._context is None:
            raise EngineError(f"no execution context: {plan.messages.last()}")
        self._context.set_device_memory(scratch, plan.engine.device_memory_size_v2)
        if not self._context.set_optimization_profile_async(profile, stream):
            raise EngineError(f"no profile for a batch of {batch}: {plan.messages.last()}")
        for tensor in bundle.spec.inputs:
            if not self._context.set_input_shape(tensor.name, (batch, *tensor.shape)):
                raise EngineError(f"{tensor.name} of a batch of {batch}: {plan.messages.last()}")

    def bind(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise EngineError(f"the plan has no tensor {name}: {self._plan.messages.last()}")

    def enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise EngineError(f"TensorRT stopped working: {self._plan.messages.last()}")

    def close(self) -> None:
        self._context = None
