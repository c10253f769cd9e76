"""Optical flow of many cameras in one call: on the CPU (DIS)."""

from engine.spec import FlowSpec
from stream.flow.base import Flow, FlowArray
from stream.flow.dis import DisFlow

__all__ = ["DisFlow", "Flow", "FlowArray", "make_flow"]


def make_flow(spec: FlowSpec) -> Flow:
    """The flow that a model was trained with. Raises ValueError for a method that this machine lacks."""
    if spec.method != "dis":
        raise ValueError(f"optical flow method '{spec.method}' is not built in; use a model trained with 'dis'")
    return DisFlow(spec.preset, spec.finest_scale)
