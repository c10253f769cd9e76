"""Results: what comes of a window, and what an engine has done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.runtime.base import EngineInfo
from stream.frame import Window
from stream.messages import WindowReady
from stream.scheduler import SkipReason


@dataclass(frozen=True, slots=True)
class Recognized:
    """A window's result. logits: float32 [S, K+1]; finite False: they mean nothing, and the state was zeroed.

    woken: it had been held back as still, and was computed when the next one was not.
    """

    ready: WindowReady
    window: Window
    logits: npt.NDArray[np.float32]
    finite: bool
    queue_ms: float
    infer_ms: float
    woken: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A window that was not computed."""

    ready: WindowReady
    reason: SkipReason


Result = Recognized | Skipped


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What one engine is, and what it has done since it was made.

    busy_s: from fetching a batch's windows to its logits, flow included. batch_sizes: batches by number of windows.
    queued: windows that wait for it now. states: of streams, that it holds now.
    """

    info: EngineInfo
    batches: int
    windows: int
    busy_s: float
    batch_sizes: dict[int, int]
    queued: int
    states: int
