"""CUDA kernels, compiled by g++ and executed on the CPU: the same source, the same launches.

It proves the arithmetic and the order of the launches, not speed. That the tiled form's threads wait for each other
where they must is proved as far as real threads on a CPU, in whatever order they come, can prove it.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import subprocess
from pathlib import Path
from typing import Literal

import numpy as np

from stream.flow.base import FlowArray
from stream.flow.cuda import kernel_source
from stream.flow.launches import DisPlan
from stream.frame import PlaneArray

CONSTANTS = ("sizeof(Level)", "PATCH", "BANDS", "TILE_WIDTH", "TILE_HEIGHT", "PLANES", "MAX_SEARCHERS")


class CpuKernels:
    """Implements Kernels: a source's kernels as functions of a library. folder: where it is kept.

    A kernel is run when it is launched; with shared memory its threads run at once, without one after another.
    """

    def __init__(self, source: str, folder: Path) -> None:
        self.library = ctypes.CDLL(str(_build(source, folder)))

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        threads: int,
        *arguments: int | np.int32 | bytes,
        shared_bytes: int = 0,
    ) -> None:
        """See Kernels."""
        run = getattr(self.library, f"run_{kernel}")
        converted = [
            ctypes.c_char_p(value)  # the address of its bytes
            if isinstance(value, bytes)
            else ctypes.c_int32(int(value))
            if isinstance(value, np.int32)
            else ctypes.c_void_p(value)
            for value in arguments
        ]
        run((ctypes.c_uint32 * 3)(*grid), ctypes.c_uint32(threads), ctypes.c_bool(shared_bytes > 0), *converted)


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
        self._folder, self._kernels = folder, CpuKernels(kernel_source(), folder)
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
            self._kernels.launch(
                launch.kernel,
                launch.grid,
                launch.threads,
                bytes(levels[launch.level]),
                np.int32(launch.argument),
                shared_bytes=launch.shared_bytes,
            )
        return flow

    def constants(self) -> dict[str, int]:
        """What the kernels were compiled with; sizeof(Level): the size of their argument, bytes."""
        told = f'extern "C" {{ int constants[] = {{{", ".join(CONSTANTS)}}}; }}'
        library = CpuKernels(f"{kernel_source()}\n{told}\n", self._folder).library
        values = (ctypes.c_int * len(CONSTANTS)).in_dll(library, "constants")
        return dict(zip(CONSTANTS, values, strict=True))


def _launchers(source: str) -> str:
    """For each kernel a function that takes its grid, its threads, whether they run at once, and its arguments."""
    lines = []
    for name, parameters in re.findall(r"__global__ void (?:__launch_bounds__\(\w+\) )?(\w+)\(([^)]*)\)", source):
        taken, given = [], []
        for number, parameter in enumerate(parameters.split(",")):
            pointer, star, _ = parameter.strip().rpartition("*")
            if star:
                taken.append(f"void* a{number}")
                given.append(f"static_cast<{pointer}*>(a{number})")
            elif (kind := parameter.split()[0]) == "int":
                taken.append(f"int a{number}")
                given.append(f"a{number}")
            else:
                taken.append(f"const {kind}* a{number}")
                given.append(f"*a{number}")
        lines.append(
            f'extern "C" void run_{name}(const unsigned* grid, unsigned threads, bool at_once, {", ".join(taken)}) '
            f"{{ launch(grid, threads, at_once, [&] {{ {name}({', '.join(given)}); }}); }}"
        )
    return "\n".join(lines)


def _build(source: str, folder: Path) -> Path:
    header = Path(__file__).with_name("cuda_on_cpu.h")
    digest = hashlib.sha256(header.read_bytes() + source.encode()).hexdigest()[:16]
    library = folder / f"kernels-{digest}.so"
    if not library.exists():
        file = library.with_suffix(".cpp")
        file.write_text(f'#include "{header}"\n{source}\n{_launchers(source)}\n')
        # Without contraction, as flow is compiled for the GPU: kernel_source.
        command = ["g++", "-std=c++20", "-O2", "-march=x86-64-v2", "-ffp-contract=off", "-Wno-unknown-pragmas"]
        subprocess.run([*command, "-shared", "-fPIC", "-pthread", "-o", library, file], check=True)
    return library
