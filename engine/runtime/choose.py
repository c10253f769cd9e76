"""Which engine serves: what was asked for, or the best that this machine has, and never one that computes wrong."""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple, cast

from engine.build import Recipe, cached_blob, require_graph
from engine.bundle import Bundle
from engine.parity import ParityError, check_parity
from engine.runtime.base import Engine, EngineError, Precision
from engine.runtime.openvino import CPUPrecision, OpenVINOEngine, cpu_precision
from engine.tensorrt_build import TensorRTTarget

log = logging.getLogger(__name__)

EngineChoice = Literal["auto", "openvino", "tensorrt"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "bf16", "int8"]


class Preference(NamedTuple):
    """What is tried first. library: TensorRT's; None for OpenVINO. reason: as in EngineInfo."""

    library: TensorRTTarget | None
    precision: Precision
    reason: str


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
    first = prefer(bundle, kind, precision)
    if first.library is not None:
        try:
            return _tensorrt(bundle, first.library, precision)
        except EngineError as error:
            first = _without_tensorrt(kind, precision, error)
    if first.reason:
        log.info("%s", first.reason)
    return _openvino(bundle, first.precision, precision, threads, first.reason)


def prefer(bundle: Bundle, kind: EngineChoice = "auto", precision: PrecisionChoice = "auto") -> Preference:
    """What `choose_engine` tries first, by what this machine has: nothing is compiled or checked for parity.

    Raises EngineError where there is nothing to try, BundleError where the bundle lacks the precision.
    """
    require_graph(bundle, precision)
    if kind == "openvino":
        return _on_cpu(precision, "")
    from engine.runtime.tensorrt import choose_library

    try:
        return Preference(choose_library(), "fp16" if precision == "auto" else precision, "")
    except EngineError as error:
        return _without_tensorrt(kind, precision, error)


def _without_tensorrt(kind: EngineChoice, precision: PrecisionChoice, error: EngineError) -> Preference:
    """What is left where TensorRT has failed. Raises EngineError if nothing is."""
    if kind == "tensorrt":
        raise EngineError(f"no TensorRT: {error}") from error
    return _on_cpu(precision, f"no TensorRT: {error}")


def _on_cpu(precision: PrecisionChoice, reason: str) -> Preference:
    if precision == "fp16":
        raise EngineError(f"fp16 is for TensorRT, which cannot run here: {reason or 'openvino was chosen'}")
    return Preference(None, cpu_precision(precision), reason)


def _tensorrt(bundle: Bundle, target: TensorRTTarget, precision: PrecisionChoice) -> Engine:
    """TensorRT; `auto` is fp16, or fp32 where that one does not pass the parity check."""
    from engine.runtime.tensorrt import open_tensorrt
    from engine.trial import try_tensorrt

    def checked(precision: Precision, reason: str) -> Engine:
        log.info("getting the TensorRT engine of '%s' ready; `swinstream build` saves the time", bundle.name)
        recipe = Recipe(target, precision)
        try_tensorrt(bundle, recipe)
        return _check(open_tensorrt(bundle, recipe, reason=reason), bundle)

    if precision != "auto":
        return checked(precision, "")
    try:
        return checked("fp16", "")
    except ParityError as error:
        log.warning("falling back to fp32: %s", error)
        return checked("fp32", "fp16 did not pass the parity check")


def _openvino(bundle: Bundle, first: Precision, precision: PrecisionChoice, threads: int, reason: str) -> Engine:
    """OpenVINO in the precision `first`, or, if `auto` was asked for and that one does not pass, in fp32."""

    def checked(precision: Precision, reason: str) -> Engine:
        used = cast(CPUPrecision, precision)
        blob = cached_blob(bundle, precision)
        engine = OpenVINOEngine(bundle, threads=threads, precision=used, blob=blob, reason=reason)
        return _check(engine, bundle)

    try:
        return checked(first, reason)
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
