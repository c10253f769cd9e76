"""Which engine serves: what was asked for, or the best that this machine has, and never one that computes wrong."""

from __future__ import annotations

import logging
from typing import Literal, cast

from engine.build import cached_blob
from engine.bundle import Bundle
from engine.parity import ParityError, check_parity
from engine.runtime.base import Engine, EngineError, Precision
from engine.runtime.openvino import CPUPrecision, OpenVINOEngine, cpu_precision

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
        try:
            return _tensorrt(bundle, precision)
        except EngineError as error:
            if kind == "tensorrt":
                raise EngineError(f"no TensorRT: {error}") from error
            reason = f"no TensorRT: {error}"
            log.info("%s", reason)
    if precision == "fp16":
        raise EngineError(f"fp16 is for TensorRT, which cannot run here: {reason or 'openvino was chosen'}")
    return _openvino(bundle, precision, threads, reason)


def _tensorrt(bundle: Bundle, precision: PrecisionChoice) -> Engine:
    """TensorRT; `auto` is fp16, or fp32 where that one does not pass the parity check."""
    from engine.runtime.tensorrt import choose_library, open_tensorrt
    from engine.trial import try_tensorrt

    target = choose_library()

    def checked(precision: Precision, reason: str) -> Engine:
        log.info("getting the TensorRT engine of '%s' ready; `swinstream build` saves the time", bundle.name)
        try_tensorrt(bundle, target, precision)
        return _check(open_tensorrt(bundle, target, precision, reason=reason), bundle)

    if precision != "auto":
        return checked(precision, "")
    try:
        return checked("fp16", "")
    except ParityError as error:
        log.warning("falling back to fp32: %s", error)
        return checked("fp32", "fp16 did not pass the parity check")


def _openvino(bundle: Bundle, precision: PrecisionChoice, threads: int, reason: str) -> Engine:
    """OpenVINO; `auto` is the CPU's fastest precision, or fp32 where that one does not pass the parity check."""

    def checked(precision: Literal["fp32", "bf16", "int8"], reason: str) -> Engine:
        blob = cached_blob(bundle, precision)
        engine = OpenVINOEngine(bundle, threads=threads, precision=precision, blob=blob, reason=reason)
        return _check(engine, bundle)

    used = cpu_precision(cast(CPUPrecision, precision))
    try:
        return checked(used, reason)
    except ParityError as error:
        if precision != "auto" or error.precision == "fp32":
            raise
        log.warning("falling back to fp32: %s", error)
        return checked("fp32", "; ".join(filter(None, (reason, f"{error.precision} did not pass the parity check"))))


def _check(engine: Engine, bundle: Bundle) -> Engine:
    """The engine, once it has passed; else it is closed."""
    try:
        parity = check_parity(engine, bundle.reference())
    except BaseException:
        engine.close()
        raise
    log.debug("'%s' passed the parity check: %s", bundle.name, parity)
    return engine
