"""The CUDA form of DIS: compiled for every architecture, run on the CPU against OpenCV's, on a GPU against both."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.flow_accuracy import BARS_PX, FOOTAGE, difference, pairs
from benchmarks.flow_model import H100, count, expect
from benchmarks.kernels_on_cpu import FlowOnCpu
from engine.runtime.base import EngineError
from engine.spec import FlowSpec
from stream.flow import CudaFlow, DisFlow, make_flow
from stream.flow import launches as plans
from stream.flow.cubin import ARCHITECTURES, compile_cubin
from stream.flow.launches import DisPlan, Level
from train.data.clips import data_root

Pictures = npt.NDArray[np.uint8]
Preset = Literal["ultrafast", "fast", "medium"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


def moving(height: int, width: int, cameras: int) -> tuple[Pictures, Pictures]:
    """A textured background that a textured square crosses, faster for each camera."""
    noise = cv2.GaussianBlur(np.random.default_rng(7).random((height + 64, width + 64)), (0, 0), 2)
    texture = np.asarray((noise - noise.min()) / np.ptp(noise) * 255, np.uint8)
    prev = np.stack([texture[:height, :width]] * cameras)
    following = prev.copy()
    side = min(height, width) // 2
    for camera in range(cameras):
        prev[camera, 4 : 4 + side, 4 : 4 + side] = texture[-side:, -side:]
        shift = 5 + 2 * camera
        following[camera, 5 : 5 + side, shift : shift + side] = texture[-side:, -side:]
    return prev, following


@pytest.mark.parametrize(("height", "width"), [(64, 96), (112, 112), (224, 224)])
def test_the_kernels_compute_what_opencv_computes(height: int, width: int, folder: Path) -> None:
    prev, following = moving(height, width, 3)
    expected = DisFlow()(prev, following)
    assert np.abs(expected).max() > 3
    assert np.abs(FlowOnCpu(folder)(prev, following) - expected).max() < 2e-3


@pytest.mark.parametrize(("preset", "finest_scale"), [("ultrafast", 1), ("ultrafast", 2), ("fast", 0), ("medium", 1)])
def test_every_preset_and_finest_scale_is_opencvs(preset: Preset, finest_scale: int, folder: Path) -> None:
    prev, following = moving(112, 112, 2)
    expected = DisFlow(preset, finest_scale)(prev, following)
    assert np.abs(FlowOnCpu(folder, preset, finest_scale)(prev, following) - expected).max() < 2e-3


def test_sides_that_cannot_be_halved_stay_near_opencv(folder: Path) -> None:
    prev, following = moving(90, 126, 2)  # 45x63, 22x31: shrunk by unequal shares of pixels
    expected = DisFlow()(prev, following)
    assert np.abs(FlowOnCpu(folder)(prev, following) - expected).mean() < 0.01


@pytest.mark.needs_data
@pytest.mark.parametrize("name", FOOTAGE)
@pytest.mark.parametrize("side", [112, 224])
def test_on_real_footage_the_flow_is_that_of_dis_where_something_moves(name: str, side: int, folder: Path) -> None:
    found = difference(FlowOnCpu(folder), DisFlow(), pairs(data_root() / name, side, side, 2))
    assert found.share > 0.01
    assert found.mean <= BARS_PX["mean"] / 100
    assert found.p95 <= BARS_PX["95th percentile"] / 100


def test_the_tiled_form_in_threads_equals_the_reference_form(folder: Path) -> None:
    prev, following = moving(32, 44, 1)
    tiled = FlowOnCpu(folder, tiled=True)(prev, following)
    assert (tiled == FlowOnCpu(folder)(prev, following)).all()
    assert np.abs(tiled).max() > 0.5


def test_cameras_of_a_batch_do_not_touch_each_other(folder: Path) -> None:
    prev, following = moving(64, 96, 3)
    flow = FlowOnCpu(folder)
    together = flow(prev, following)
    for camera in range(3):
        assert (flow(prev[camera, None], following[camera, None])[0] == together[camera]).all()


def test_python_and_the_kernels_agree_on_the_argument_and_the_constants(folder: Path) -> None:
    constants = FlowOnCpu(folder).constants()
    names = ("PATCH", "BANDS", "TILE_WIDTH", "TILE_HEIGHT", "REFINEMENT_PLANES")
    assert constants == {"Level": ctypes.sizeof(Level), **{name: getattr(plans, name) for name in names}}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_kernels_compile_for_every_architecture(
    architecture: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cubin = compile_cubin(architecture)
    assert cubin.startswith(b"\x7fELF")
    for kernel in {
        launch.kernel for tiled in (False, True) for launch in DisPlan(64, 96, "ultrafast", 1).launches(1, tiled)
    }:
        assert b".text." + kernel.encode() in cubin


def test_large_pictures_are_searched_without_tiles() -> None:
    kernels = {launch.kernel for launch in DisPlan(720, 1280, "ultrafast", 0).launches(1, tiled=True)}
    assert {"search_wave", "search_tiled"} <= kernels  # the finest level does not fit in shared memory, others do


def test_pictures_too_small_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="96x16 are too small for flow with finest_scale 2"):
        DisPlan(16, 96, "ultrafast", 2)


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_without_a_gpu_the_reason_is_told() -> None:
    with pytest.raises(EngineError, match="driver"):
        make_flow(FlowSpec(), cuda=True)


def test_expected_times_follow_from_the_work() -> None:
    plan = DisPlan(224, 224, "ultrafast", 0)
    one, many = expect(plan, 1), expect(plan, 1000)
    assert many.memory_ms == pytest.approx(1000 * count(plan).bytes / H100.bytes_per_s * 1e3)
    assert many.total_ms == pytest.approx(max(many.memory_ms, many.arithmetic_ms, many.chain_ms) + many.launch_ms)
    assert one.chain_ms < many.chain_ms < 1000 * one.chain_ms  # cameras wait beside each other, not one after another


@pytest.mark.needs_gpu
@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize(("preset", "finest_scale"), [("ultrafast", 0), ("ultrafast", 1), ("fast", 0), ("medium", 1)])
def test_on_a_gpu_both_forms_compute_what_the_cpu_computes(
    tiled: bool, preset: Preset, finest_scale: int, folder: Path
) -> None:
    flow = CudaFlow(preset, finest_scale, tiled=tiled)
    reference = FlowOnCpu(folder, preset, finest_scale)
    for height, width, cameras in ((112, 112, 3), (64, 96, 8), (224, 224, 5), (112, 112, 2)):
        prev, following = moving(height, width, cameras)
        got = flow(prev, following)
        assert (got == reference(prev, following)).all()
        assert np.abs(got - DisFlow(preset, finest_scale)(prev, following)).max() < 2e-3
    flow.close()


@pytest.mark.needs_gpu
@pytest.mark.needs_data
@pytest.mark.parametrize("name", FOOTAGE)
def test_on_a_gpu_real_footage_meets_the_bars(name: str) -> None:
    flow = CudaFlow()
    for side in (112, 224):
        found = difference(flow, DisFlow(), pairs(data_root() / name, side, side, 8))
        assert found.mean <= BARS_PX["mean"]
        assert found.p95 <= BARS_PX["95th percentile"]
    flow.close()
