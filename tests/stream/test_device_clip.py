"""Inputs made on the engine's device, where the CPU runs the same kernels: they are ClipBuilder's, bit for bit."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("onnxruntime")

from benchmarks.kernels_on_cpu import CpuKernels, FlowOnCpu
from engine.runtime.base import EngineError
from engine.runtime.cubin import ARCHITECTURES, compile_cubin
from engine.spec import Modality, ModelSpec
from stream.clip import ClipBuilder
from stream.device_clip import DeviceClips, _Clip, _drifting
from stream.flow.cuda import KERNELS
from stream.frame import NS_PER_S, ClockSource, StreamKey, Window
from tests.clip_spec import TICKS, clip_spec
from tests.engine.runtime.host_device import HostDevice, kernel_folder

SOURCE = (KERNELS / "clip.cu").read_text()
HEIGHT, WIDTH = 32, 48
ROWS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kernel_folder(tmp_path_factory)


@pytest.fixture
def device(folder: Path) -> HostDevice:
    return HostDevice(folder)


def spec_of(modality: Modality = "rgb+flow", **flow: Any) -> ModelSpec:
    return clip_spec(modality, HEIGHT, WIDTH, **flow)


def windows(spec: ModelSpec, count: int) -> list[Window]:
    """Drifting noise at uneven times, every second one with a tick that repeats the one before."""
    random = np.random.default_rng(count)
    made = []
    for n in range(count):
        window = _drifting(spec, n)
        pts_ns = np.sort(random.integers(1, NS_PER_S, TICKS))
        if n % 2:
            pts_ns[3] = pts_ns[2]
        made.append(Window(window.stream, 0, 0, window.pictures, pts_ns, 0, 0, ClockSource.ARRIVAL))
    return made


def made_by(
    clips: DeviceClips, spec: ModelSpec, device: HostDevice, given: list[Window], rows: int = ROWS
) -> list[npt.NDArray[np.uint8]]:
    """The network's inputs, of one run with as many rows as there is room for."""
    tensors = [tensor for tensor in spec.inputs if tensor not in spec.state_tensors]
    places = {t.name: device.pinned((rows, *t.shape), t.dtype) for t in tensors}
    clips.take(given)
    clips.upload(slice(0, len(given)))
    clips.enqueue(rows, {name: array.ctypes.data for name, array in places.items()})
    return [array[: len(given)] for array in places.values()]


@pytest.mark.parametrize(
    ("modality", "flow"),
    [
        ("rgb", {}),
        ("rgb+flow", {}),
        ("rgb+flow", {"finest_scale": 1, "clip_px": 0.7}),
        ("lessrgb+flow", {"preset": "fast"}),
    ],
)
def test_inputs_are_those_of_the_cpu(
    modality: Modality, flow: dict[str, object], device: HostDevice, folder: Path
) -> None:
    """To the bit with the same kernels' flow; OpenCV's differs by rounding. A batch of less than all rows is first."""
    spec = spec_of(modality, **flow)
    clips = DeviceClips(spec, device, ROWS, tiled=False)
    builder = ClipBuilder(spec, FlowOnCpu(folder, spec.flow.preset, spec.flow.finest_scale))
    for count in (2, 3, 1):
        given = windows(spec, count)
        expected, opencv = builder.build(given), ClipBuilder(spec).build(given)
        got = made_by(clips, spec, device, given)
        assert np.array_equal(got[0], expected.picture)
        assert len(got) == (1 if modality == "rgb" else 2)
        if modality != "rgb":
            assert np.array_equal(got[1].view(np.uint16), expected.flow.view(np.uint16))
            assert np.abs(got[1].astype(np.float32) - opencv.flow.astype(np.float32)).max() < 0.02
            assert np.abs(got[1]).max() == pytest.approx(spec.flow.clip_px, rel=1e-3) or spec.flow.clip_px == 20


def test_the_fast_kernels_make_the_same(device: HostDevice, folder: Path) -> None:
    """Of one pair of small pictures: here they take a real thread for each of a GPU's."""
    spec = spec_of().model_copy(update={"ticks": 2, "height": 24, "width": 32})
    clips = DeviceClips(spec, device, 1)
    given = [_drifting(spec, 1)]
    expected = ClipBuilder(spec, FlowOnCpu(folder)).build(given)
    assert np.abs(expected.flow).max() > 0.5
    picture, flow = made_by(clips, spec, device, given, rows=1)
    assert np.array_equal(picture, expected.picture)
    assert np.array_equal(flow, expected.flow)


def test_pictures_of_any_colour_are_opencvs(device: HostDevice) -> None:
    """Noise: every level that a byte holds, those too that no video has."""
    spec = spec_of("rgb")
    pictures = np.random.default_rng(0).integers(0, 256, (ROWS, TICKS, HEIGHT * 3 // 2, WIDTH), np.uint8)
    stream = StreamKey("cam", "full")
    given = [Window(stream, 0, 0, p, np.arange(TICKS), 0, 0, ClockSource.ARRIVAL) for p in pictures]
    (picture,) = made_by(DeviceClips(spec, device, ROWS), spec, device, given)
    assert np.array_equal(picture, ClipBuilder(spec).build(given).picture)


def test_flow_is_rounded_to_halves_as_numpy_rounds(folder: Path) -> None:
    """Every half, what lies midway between two, and a little to each side of that; infinite, and not a number."""
    kernel = 'extern "C" __global__ void halve(const float* values, unsigned short* halves, int) '
    kernel += "{ halves[blockIdx.x] = half_bits(values[blockIdx.x]); }"
    halves = np.arange(0x7C01, dtype=np.uint16).view(np.float16).astype(np.float32)
    halves[-1] = 65536  # where infinity would be, if it were a number
    middles = (halves[1:] + halves[:-1]) / 2
    values = np.concatenate(
        [halves, middles, np.nextafter(middles, 0), np.nextafter(middles, 1e9), [np.inf, 1e9, 1e-9]]
    )
    values = np.concatenate([values, -values, [np.nan]]).astype(np.float32)
    got = np.empty(len(values), np.float16)
    kernels = CpuKernels(f"{SOURCE}\n{kernel}\n", folder)
    kernels.launch("halve", (len(values), 1, 1), 1, values.ctypes.data, got.ctypes.data, np.int32(0))
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    assert np.isnan(got[-1])
    assert np.array_equal(got[:-1].view(np.uint16), expected[:-1].view(np.uint16))


def test_the_argument_is_laid_out_as_in_the_kernels(folder: Path) -> None:
    library = CpuKernels(f'{SOURCE}\nextern "C" {{ int size = sizeof(Clip); }}\n', folder).library
    assert ctypes.c_int.in_dll(library, "size").value == ctypes.sizeof(_Clip)
    fields = SOURCE.split("struct Clip {")[1].split("};")[0]
    named = [name for line in fields.splitlines() for name in line.split("//")[0].strip(" ;").split(",") if name]
    assert [name.split()[-1].lstrip("*") for name in named] == [name for name, _ in _Clip._fields_]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_kernels_compile_for_every_architecture(architecture: int) -> None:
    pytest.importorskip("cuda.core")
    cubin = compile_cubin(SOURCE, "clip.cu", architecture, fma=False)
    assert all(name in cubin for name in (b"make_pictures", b"pair_lumas", b"scale_flows"))


def test_flow_that_comes_out_otherwise_is_refused(device: HostDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that compute a little more than they should; and nothing stays allocated."""
    monkeypatch.setattr(device, "load", lambda source, name, *, fma=None: _wrong(source, name, device))
    with pytest.raises(EngineError, match=r"flow computed on the GPU is 0\.\d+ px from that computed on the CPU"):
        DeviceClips(spec_of(), device, ROWS, tiled=False)
    assert device.used_bytes == 0


def _wrong(source: str, name: str, device: HostDevice) -> object:
    return HostDevice.load(device, source.replace("[place] * scale;", "[place] * scale * 1.4f;"), name)


def test_what_cannot_be_had_is_told_and_nothing_stays_allocated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dis.cu", "clip.cu"):
        device = HostDevice(folder, refused=(name,))
        with pytest.raises(EngineError, match=f"{name} does not compile"):
            DeviceClips(spec_of(), device, ROWS)
        assert device.used_bytes == 0
    device = HostDevice(folder)
    with pytest.raises(EngineError, match="trained with tvl1 flow, which has no form for a GPU"):
        DeviceClips(spec_of(method="tvl1"), device, ROWS)
    with pytest.raises(EngineError, match="48x32 are too small for flow with finest_scale 3"):
        DeviceClips(spec_of(finest_scale=3), device, ROWS)
    assert device.used_bytes == 0


def test_a_window_of_another_shape_is_refused(device: HostDevice) -> None:
    clips = DeviceClips(spec_of("rgb"), device, ROWS)
    with pytest.raises(ValueError, match=r"has shape \(8, 24, 24\), model m needs \(8, 48, 48\)"):
        clips.take([_drifting(spec_of().model_copy(update={"height": 16, "width": 24}), 0)])
