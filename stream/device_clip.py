"""DeviceClips: windows of small pictures -> the network's input tensors, on the engine's own device.

The windows are copied up once, as they are; pictures, flow and its scaling are made there, where the network reads
them, by work that is recorded together with the network's. The results are ClipBuilder's, which a window that the
device makes at the start has to prove.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from engine.runtime.base import EngineError
from engine.runtime.device import Device
from engine.spec import ModelSpec
from stream.clip import ClipBuilder, check_windows, flow_scale
from stream.flow.cuda import KERNELS, DeviceFlow
from stream.frame import NS_PER_S, ClockSource, StreamKey, Window

THREADS = 128
MEAN_PX, TAIL_PX = 0.25, 1.0
"""How far flow may be from OpenCV's where that says more than 0.5 px: on average, and the 95th percentile."""


class _Clip(ctypes.Structure):
    """The argument of every kernel of clip.cu: its struct Clip."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("window", "scale", "picture_ticks", "flow_ticks")),
        *((name, ctypes.c_void_p) for name in ("prev", "following", "moved", "picture", "flow")),
        ("clip_px", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("height", "width", "ticks", "pictures", "flows")),
    )


class DeviceClips:
    """Implements InputSource, for windows of one model; `take` them first. Belongs to the device's thread.

    rows: the most that are made at once. tiled: as for DeviceFlow. Raises EngineError where the model's flow cannot be
    computed on this device, or comes out otherwise than on the CPU: nothing is left allocated then.
    """

    def __init__(self, spec: ModelSpec, device: Device, rows: int, *, tiled: bool = True) -> None:
        self._spec, self._device = spec, device
        if spec.flow_ticks and spec.flow.method != "dis":
            raise EngineError(f"the model was trained with {spec.flow.method} flow, which has no form for a GPU")
        self._flow: DeviceFlow | None = None
        if spec.flow_ticks:
            self._flow = DeviceFlow(device, spec.flow.preset, spec.flow.finest_scale, tiled=tiled)
        self._kernels = device.load((KERNELS / "clip.cu").read_text(encoding="utf-8"), "clip.cu", fma=False)
        self._windows: Sequence[Window] = ()
        self._allocated: list[int] = []
        try:
            self._reserve(rows)
            self._check(min(rows, 2))
        except ValueError as error:  # pictures too small for flow
            self._free()
            raise EngineError(str(error)) from error
        except BaseException:
            self._free()
            raise

    def take(self, windows: Sequence[Window]) -> None:
        """The windows of the next batch. Raises ValueError for one that does not have the model's shape."""
        check_windows(self._spec, windows)
        self._windows = windows

    def upload(self, rows: slice) -> None:
        """See InputSource."""
        windows = self._windows[rows]
        for staged, window in zip(self._host_windows, windows, strict=False):
            np.copyto(staged, window.pictures)
        self._device.upload(self._clip.window, self._host_windows[: len(windows)])
        if self._flow is not None:
            self._host_scale[: len(windows)] = flow_scale(self._spec, windows)
            self._device.upload(self._clip.scale, self._host_scale[: len(windows)])

    def enqueue(self, rows: int, inputs: Mapping[str, int]) -> None:
        """See InputSource."""
        spec, clip = self._spec, self._clip
        clip.picture, clip.flow = inputs["picture"], inputs.get("flow")
        pixels = spec.height * spec.width
        self._launch("make_pictures", pixels, rows * clip.pictures)
        if self._flow is None:
            return
        pairs = rows * clip.flows
        self._launch("pair_lumas", pixels, pairs)
        self._flow.launch(pairs, spec.height, spec.width, clip.prev, clip.following, clip.moved)
        self._launch("scale_flows", 2 * pixels, pairs)

    def _launch(self, kernel: str, items: int, rows: int) -> None:
        self._kernels.launch(kernel, (-(-items // THREADS), rows, 1), THREADS, bytes(self._clip), np.int32(0))

    def _reserve(self, rows: int) -> None:
        spec, device = self._spec, self._device
        pictures, flows, pixels = len(spec.picture_ticks), len(spec.flow_ticks), spec.height * spec.width
        self._host_windows = device.pinned((rows, spec.ticks, spec.height * 3 // 2, spec.width), np.uint8)
        self._host_scale = device.pinned((rows, max(1, flows)), np.float32)
        self._clip = _Clip(
            window=self._allocate(self._host_windows.nbytes),
            scale=self._allocate(self._host_scale.nbytes),
            prev=self._allocate(rows * flows * pixels),
            following=self._allocate(rows * flows * pixels),
            moved=self._allocate(8 * rows * flows * pixels),
            clip_px=spec.flow.clip_px,
            height=spec.height,
            width=spec.width,
            ticks=spec.ticks,
            pictures=pictures,
            flows=flows,
        )
        for name, ticks in (("picture_ticks", spec.picture_ticks), ("flow_ticks", spec.flow_ticks or (0,))):
            address, staged = self._allocate(4 * len(ticks)), device.pinned((len(ticks),), np.int32)
            staged[:] = ticks
            device.upload(address, staged)
            device.synchronise()
            setattr(self._clip, name, address)
        if self._flow is not None:
            self._flow.reserve(rows * flows, spec.height, spec.width)

    def _allocate(self, size_bytes: int) -> int:
        self._allocated.append(self._device.allocate(size_bytes))
        return self._allocated[-1]

    def _free(self) -> None:
        self._device.synchronise()
        if self._flow is not None:
            self._flow.free()
        for address in self._allocated:
            self._device.free(address)
        self._allocated.clear()

    def _check(self, rows: int) -> None:
        """Raise EngineError unless windows of a known movement become what they become on the CPU.

        It is also the first run of every kernel, which may do what cannot be recorded.
        """
        spec, device = self._spec, self._device
        windows = [_drifting(spec, seed) for seed in range(rows)]
        expected = ClipBuilder(spec).build(windows)
        made = {"picture": expected.picture} | ({"flow": expected.flow} if spec.flow_ticks else {})
        got = {name: device.pinned(array.shape, array.dtype) for name, array in made.items()}
        addresses = {name: device.allocate(array.nbytes) for name, array in got.items()}
        try:
            self.take(windows)
            self.upload(slice(0, rows))
            self.enqueue(rows, addresses)
            for name, address in addresses.items():
                device.download(got[name], address)
            device.synchronise()
        finally:
            for address in addresses.values():
                device.free(address)
            self._windows = ()
        if not np.array_equal(got["picture"], expected.picture):
            raise EngineError("pictures made on the GPU are not those made on the CPU")
        if self._flow is None:
            return
        wanted = expected.flow.astype(np.float32)
        off_px = np.linalg.norm(got["flow"].astype(np.float32) - wanted, axis=2)
        moving = off_px[np.linalg.norm(wanted, axis=2) > min(0.5, self._spec.flow.clip_px / 2)]
        if not (moving.mean() <= MEAN_PX and np.percentile(moving, 95) <= TAIL_PX):
            raise EngineError(f"flow computed on the GPU is {moving.mean():.2g} px from that computed on the CPU")


def _drifting(spec: ModelSpec, seed: int) -> Window:
    """A window of coloured noise that drifts by a pixel and more a tick; one tick is repeated, if not the only one."""
    noise = np.random.default_rng(seed).random((spec.height * 3 // 2, spec.width), np.float32)
    noise = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 16, 235, cv2.NORM_MINMAX)
    picture = noise.astype(np.uint8)
    pictures = np.stack([np.roll(picture, (1 + seed) * tick, axis=1) for tick in range(spec.ticks)])
    pts_ns = np.round(np.arange(spec.ticks) * NS_PER_S / spec.rate_hz).astype(np.int64)
    if spec.ticks > 2:
        pictures[-1], pts_ns[-1] = pictures[-2], pts_ns[-2]
    return Window(StreamKey("check", "full"), 0, 0, pictures, pts_ns, 0, 0, ClockSource.ARRIVAL)
