"""Which engine serves: what was asked for, or the best that this machine has, and never one that computes wrong."""

from __future__ import annotations

import ctypes
import logging
import sys
from typing import Literal, cast

from engine.bundle import Bundle
from engine.parity import ParityError, check_parity
from engine.runtime.base import Engine, EngineError
from engine.runtime.openvino import CPUPrecision, OpenVINOEngine

log = logging.getLogger(__name__)

EngineChoice = Literal["auto", "openvino", "tensorrt"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "bf16", "int8"]


def choose_engine(
    bundle: Bundle,
    kind: EngineChoice = "auto",
    precision: PrecisionChoice = "auto",
    *,
    threads: int = 1,
) -> Engine:
    """An engine for `bundle` that has passed the parity check on this machine.

    `tensorrt` and `openvino` are that engine or an EngineError; `auto` takes the first that can run, and its
    `info.reason` says why it is not the one before. A precision other than `auto` is that one or an EngineError.
    Raises ParityError if none computes what was trained.
    """
    reason = ""
    if kind != "openvino":
        missing = _missing_for_tensorrt()
        if kind == "tensorrt":
            raise EngineError("; ".join(missing))
        reason = f"no TensorRT: {missing[0]}"
    if precision in {"fp16", "int8"}:
        raise EngineError(f"{precision} is for TensorRT, which cannot run here: {reason or 'openvino was chosen'}")
    return _openvino(bundle, cast(CPUPrecision, precision), threads, reason)


def _openvino(bundle: Bundle, precision: CPUPrecision, threads: int, reason: str) -> Engine:
    """OpenVINO; `auto` is the CPU's fastest precision, or fp32 where that one does not pass the parity check."""

    def checked(precision: CPUPrecision, reason: str) -> OpenVINOEngine:
        engine = OpenVINOEngine(bundle, threads=threads, precision=precision, reason=reason)
        try:
            used = check_parity(engine, bundle.reference())
        except ParityError:
            engine.close()
            raise
        log.debug("'%s' passed the parity check, error %.2g of the limit", bundle.name, used)
        return engine

    try:
        return checked(precision, reason)
    except ParityError as error:
        if precision != "auto" or error.precision == "fp32":
            raise
        log.warning("falling back to fp32: %s", error)
        return checked("fp32", "; ".join(filter(None, (reason, f"{error.precision} did not pass the parity check"))))


def _missing_for_tensorrt() -> list[str]:
    """What TensorRT lacks here, the weightiest first."""
    missing = []
    if not _has_nvidia_driver():
        missing.append("this machine has no NVIDIA driver")
    missing.append("this version of swinstream runs models on OpenVINO only (--engine openvino)")
    return missing


def _has_nvidia_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
