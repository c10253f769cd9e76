"""Placement: where the network's inputs are made of windows, on the engine's own device or on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from engine.runtime.base import Engine, EngineError, Inference
from engine.runtime.device import DeviceEngine
from stream.clip import ClipBuilder
from stream.device_clip import DeviceClips
from stream.frame import Window
from stream.logs import fields

Infer = Callable[[Sequence[int], Sequence[Window]], Inference]
"""As Engine.infer, of windows."""

_log = logging.getLogger(__name__)


def place_inputs(engine: Engine) -> tuple[Infer, str]:
    """How an engine computes windows; and, where an engine of a GPU gets its inputs from the CPU, why (else empty)."""
    if isinstance(engine, DeviceEngine):
        try:
            return _on_device(engine), ""
        except EngineError as error:
            reason = str(error)
    elif engine.info.kind == "tensorrt":
        reason = "this engine takes no inputs that are made on its GPU"
    else:
        return _on_cpu(engine), ""
    reason = f"optical flow is computed on the CPU: {reason}"
    _log.warning(fields("the engine's GPU does not make its inputs", model=engine.spec.name, reason=reason))
    return _on_cpu(engine), reason


def _on_device(engine: DeviceEngine) -> Infer:
    clips = DeviceClips(engine.spec, engine.device, engine.largest)

    def infer(slots: Sequence[int], windows: Sequence[Window]) -> Inference:
        clips.take(windows)
        return engine.infer_from(slots, clips)

    return infer


def _on_cpu(engine: Engine) -> Infer:
    builder = ClipBuilder(engine.spec)

    def infer(slots: Sequence[int], windows: Sequence[Window]) -> Inference:
        clip = builder.build(windows)
        return engine.infer(slots, clip.picture, clip.flow)

    return infer
