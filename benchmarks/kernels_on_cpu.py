"""The CUDA kernels of optical flow, compiled by g++ and executed on the CPU: the same source, the same launches.

It proves the arithmetic and the order of the launches, not speed. That the tiled form's threads wait for each other
where they must is proved as far as real threads on a CPU, in whatever order they come, can prove it.
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Literal

import numpy as np

from stream.flow.base import FlowArray
from stream.flow.cubin import kernel_source
from stream.flow.launches import DisPlan
from stream.frame import PlaneArray

RUN_KERNEL = """
extern "C" void run_kernel(void (*kernel)(Level, int), const Level* level, int argument, unsigned x, unsigned y,
                           unsigned z, unsigned threads, bool at_once) {
    auto call = [&] { kernel(*level, argument); };
    at_once ? run_at_once({x, y, z}, threads, call) : run_in_turn({x, y, z}, threads, call);
}
extern "C" { int constants[] = {sizeof(Level), PATCH, BANDS, TILE_WIDTH, TILE_HEIGHT, PLANES}; }
"""
CONSTANTS = ("Level", "PATCH", "BANDS", "TILE_WIDTH", "TILE_HEIGHT", "REFINEMENT_PLANES")


class FlowOnCpu:
    """Implements Flow with the CUDA kernels. folder: where the compiled library is kept."""

    def __init__(
        self,
        folder: Path,
        preset: Literal["ultrafast", "fast", "medium"] = "ultrafast",
        finest_scale: int = 0,
        *,
        tiled: bool = False,
    ) -> None:
        self._library = ctypes.CDLL(str(_build(folder)))
        self._preset, self._finest_scale, self._tiled = preset, finest_scale, tiled

    def __call__(self, prev: PlaneArray, following: PlaneArray) -> FlowArray:
        """See Flow."""
        cameras, height, width = prev.shape
        plan = DisPlan(height, width, self._preset, self._finest_scale)
        prev, following = np.ascontiguousarray(prev), np.ascontiguousarray(following)
        memory = np.full(plan.bytes(cameras), 0xFF, np.uint8)  # all NaN: what is read must have been written
        flow = np.full((cameras, 2, height, width), np.nan, np.float32)
        levels = plan.levels(cameras, *(array.ctypes.data for array in (memory, prev, following, flow)))
        for launch in plan.launches(cameras, self._tiled):
            kernel = getattr(self._library, launch.kernel)
            self._library.run_kernel(
                kernel,
                ctypes.byref(levels[launch.level]),
                launch.argument,
                *launch.grid,
                launch.threads,
                launch.shared_bytes > 0,
            )
        return flow

    def constants(self) -> dict[str, int]:
        """What the kernels were compiled with; Level: the size of their argument, bytes."""
        values = (ctypes.c_int * len(CONSTANTS)).in_dll(self._library, "constants")
        return dict(zip(CONSTANTS, values, strict=True))


def _build(folder: Path) -> Path:
    library = folder / "flow_kernels.so"
    if not library.exists():
        source = folder / "flow_kernels.cpp"
        header = Path(__file__).with_name("cuda_on_cpu.h")
        source.write_text(f'#include "{header}"\n{kernel_source()}\n{RUN_KERNEL}')
        # Without contraction, as for the GPU: compile_cubin.
        command = ["g++", "-std=c++20", "-O2", "-march=x86-64-v2", "-ffp-contract=off", "-Wno-unknown-pragmas"]
        subprocess.run([*command, "-shared", "-fPIC", "-pthread", "-o", library, source], check=True)
    return library
