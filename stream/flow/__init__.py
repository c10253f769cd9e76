"""Optical flow of many cameras in one call: DIS (CPU or CUDA) or TV-L1, whichever the model was trained with."""

from engine.spec import FlowSpec
from stream.flow.base import Flow, FlowArray
from stream.flow.cuda import CudaFlow
from stream.flow.dis import DisFlow
from stream.flow.tvl1 import Tvl1Flow

__all__ = ["CudaFlow", "DisFlow", "Flow", "FlowArray", "Tvl1Flow", "make_flow"]


def make_flow(spec: FlowSpec, *, cuda: bool = False) -> Flow:
    """The flow that a model was trained with. Raises ValueError for a method that this machine lacks.

    cuda: DIS on the GPU, the same flow. Raises EngineError where that cannot be.
    """
    if spec.method == "tvl1":
        return Tvl1Flow()
    if cuda:
        return CudaFlow(spec.preset, spec.finest_scale)
    return DisFlow(spec.preset, spec.finest_scale)
