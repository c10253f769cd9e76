"""What recognition costs when it is written in the usual ways: two stacks to hold the service against.

Started by train.comparison as `python -m train.stacks SETTINGS`, a process for each, whose CPU is measured while it
goes through a file as fast as it can. Writes one line of JSON with the keys of `bench cameras --json`.

`first`, the one that people write first: OpenCV's VideoCapture decodes; every frame is resized to 224x224, and
Farneback's flow from the frame before is computed on it; once a second torch runs Video Swin-T, sizes as published,
on the last 32 frames (a picture and its flow from every second one: the token map and the multiply-adds of the
published 32x224x224). Flow at the camera's own size, which is as usual, would cost four times as much.

`stateless`: our own capture, sampling, scaling, flow and network, but torch instead of a compiled graph and no state.
A decision of ours sees its window and, by the state, what was before; without one, it must get its context from what
it is given. So windows overlap: one ends at each of the network's steps, and its last step is the decision. They are
two of the network's windows long, as far back as the shipped model was trained to look (the state reaches farther):
two windows in a row, the first from a state of zero, anew for each decision. Nothing is done twice but the network:
flow and pictures are kept from window to window, and the decisions of a second go through it as one batch.

`stateless-short`: the same with a single window, the least that there can be. It looks back for a second only.
`stateless-compiled`: as `stateless`, on OpenVINO: what the state is worth without what compiling is.

All compute with one thread, which is the cheapest in core-milliseconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import psutil
import torch

from engine.bundle import Bundle, BundleError
from engine.network.cost import total
from engine.network.recognizer import Recognizer
from engine.network.weights import load_recognizer
from engine.runtime.base import Engine, EngineError
from engine.runtime.openvino import OpenVINOEngine
from engine.spec import ModelSpec, NetworkSpec
from stream.bench.processes import MIB
from stream.bench.result import percentiles
from stream.clip import Clip, ClipBuilder
from stream.demo.rtsp import tell
from stream.failure import SourceError
from stream.reader import read_windows
from train.torch_engine import TorchEngine

CLIP_FRAMES = 32
CONTEXT = 2
"""Windows that a decision sees; `configs/train/movements.yaml` trains with as many in a row."""
VIDEO_SWIN_T = ModelSpec(
    name="video-swin-t",
    version="1",
    labels=(*(f"action-{n}" for n in range(399)), "none"),
    modality="rgb+flow",
    ticks=CLIP_FRAMES,
    rate_hz=15.0,
    height=224,
    width=224,
    network=NetworkSpec(memory="none"),
)


class Costs:
    """CPU time of this process by stage, since it was last cleared, and how long each decision took."""

    def __init__(self) -> None:
        self.stages: Counter[str] = Counter()
        self.decisions_ms: list[float] = []
        self._begun_s = time.monotonic()

    def clear(self) -> None:
        self.stages.clear()
        self.decisions_ms.clear()
        self._begun_s = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        before_s = time.process_time()
        yield
        self.stages[name] += time.process_time() - before_s  # type: ignore[assignment]  # seconds

    def report(self, frames: int, seconds: float) -> dict[str, Any]:
        """frames: so many were gone through, `seconds` long when played."""
        wall_s = time.monotonic() - self._begun_s
        stages = {name: round(1000 * s / seconds, 2) for name, s in self.stages.items()}
        return {
            "cameras": 1,
            "seconds": round(seconds, 2),
            "core_ms_per_camera_s": round(sum(stages.values()), 1),
            "core_ms_by_stage": stages,
            "fps_min": round(frames / wall_s, 2),
            "dropped": 0,
            "latency_ms": percentiles(self.decisions_ms),
            "rss_mib": round(psutil.Process().memory_info().rss / MIB, 1),
        }


def first_written(path: str, fps: int, seconds: int, spec: ModelSpec = VIDEO_SWIN_T) -> dict[str, Any]:
    """`seconds` of the film after the network's first window. Raises ValueError for a film that is too short."""
    torch.manual_seed(0)
    model = Recognizer(spec).eval()
    capture = cv2.VideoCapture(path)
    pictures: deque[npt.NDArray[np.uint8]] = deque(maxlen=spec.ticks)
    flows: deque[npt.NDArray[np.float32]] = deque(maxlen=spec.ticks)
    before: npt.NDArray[Any] | None = None
    costs, since = Costs(), 0
    warm_up = spec.ticks + 1
    for number in range(warm_up + seconds * fps):
        with costs.stage("decode"):
            found, frame = capture.read()
        if not found:
            raise ValueError(f"{path} ends after {number} frames, and {warm_up + seconds * fps} are wanted")
        shown_s = time.monotonic()
        with costs.stage("flow"):
            picture = cv2.resize(frame, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
            grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
            if before is not None:
                flows.append(cv2.calcOpticalFlowFarneback(before, grey, None, 0.5, 3, 15, 3, 5, 1.2, 0))
            before = grey
            pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        since += 1
        if number == warm_up - 1:
            _decide(model, pictures, flows)  # what a first call prepares is not measured
            costs.clear()
            since = 0
        elif since == fps and number >= warm_up:
            since = 0
            with costs.stage("network"):
                _decide(model, pictures, flows)
            costs.decisions_ms.append(1000 * (time.monotonic() - shown_s))
    capture.release()
    found_costs = costs.report(seconds * fps, float(seconds))
    return found_costs | {"gmac_per_window": round(total(spec).macs / 1e9, 1)}


def stateless(
    path: str, fps: int, seconds: int, bundle: Bundle, *, context: int = CONTEXT, compiled: bool = False
) -> dict[str, Any]:
    """About so many seconds of the film, in whole windows; context: so many windows' length for each decision.

    Raises ValueError for a film that is too short.
    """
    spec = bundle.spec
    engine: Engine = OpenVINOEngine(bundle, threads=1) if compiled else TorchEngine(load_recognizer(bundle))
    slots = [engine.open_slot() for _ in range(spec.steps)]
    builder, costs = ClipBuilder(spec), Costs()
    windows = read_windows(path, spec)
    clips: deque[Clip] = deque(maxlen=context + 1)
    wanted = max(1, round(seconds / spec.window_s))
    for number in range(context + wanted):
        if number == context:
            costs.clear()
        with costs.stage("decode"):
            window = next(windows, None)
        if window is None:
            raise ValueError(f"{path} is too short for {seconds} s")
        shown_s = time.monotonic()
        with costs.stage("flow"):
            clips.append(builder.build([window]))
        if number < context:
            continue
        with costs.stage("network"):
            for slot in slots:
                engine.reset_slot(slot)
            for before, clip in pairwise(clips):
                overlapping = overlap(before, clip, spec.steps)
                engine.infer(slots, overlapping.picture, overlapping.flow)
        costs.decisions_ms.append(1000 * (time.monotonic() - shown_s))
    engine.close()
    return costs.report(round(wanted * spec.window_s * fps), wanted * spec.window_s)


def overlap(before: Clip, clip: Clip, steps: int) -> Clip:
    """Of two windows in a row, [1, ...], those that end at each step of the second: [steps, ...]."""

    def sliding(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[Any]:
        joined = np.concatenate([first[0], second[0]])
        length = len(joined) // 2
        hop = length // steps
        return np.stack([joined[n * hop : n * hop + length] for n in range(1, steps + 1)])

    return Clip(sliding(before.picture, clip.picture), sliding(before.flow, clip.flow))


def _decide(model: Recognizer, pictures: deque[npt.NDArray[np.uint8]], flows: deque[npt.NDArray[np.float32]]) -> None:
    spec = model.spec
    picture = np.stack([pictures[tick] for tick in spec.picture_ticks])
    flow = np.stack([flows[tick].transpose(2, 0, 1) for tick in spec.flow_ticks]).astype(np.float16)
    with torch.inference_mode():
        model(torch.from_numpy(picture[None]), torch.from_numpy(flow[None]), model.initial_state(1))


STACKS: dict[str, Callable[[str, int, int, str], dict[str, Any]]] = {
    "first": lambda path, fps, seconds, model: first_written(path, fps, seconds),
    "stateless": lambda path, fps, seconds, model: stateless(path, fps, seconds, Bundle.load(model)),
    "stateless-short": lambda path, fps, seconds, model: stateless(path, fps, seconds, Bundle.load(model), context=1),
    "stateless-compiled": lambda path, fps, seconds, model: stateless(
        path, fps, seconds, Bundle.load(model), compiled=True
    ),
}


def main() -> int:
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    stack = settings["stack"]
    try:
        tell(STACKS[stack](*(settings[key] for key in ("path", "fps", "seconds", "model"))) | {"stack": stack})
    except (ValueError, BundleError, EngineError, SourceError) as error:
        tell({"error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
