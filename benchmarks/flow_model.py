"""The time that optical flow of so many cameras should need on an H100, counted from what the kernels do.

    python -m benchmarks.flow_model [--size 224x224] [--cameras 1 64 1000] [--measure] [--json]

Three bounds, each from the launches themselves: bytes that must come from and go to memory once; instructions of
the arithmetic, as one per lane and clock; and the chain, the time of one camera alone, for a patch waits for its
neighbours: waves of patches one after another, each as long as one thread needs for its share of a patch. The
expected time is the greatest of them (the chain as often as cameras do not fit beside each other) and what launching
costs. --measure, on a machine with a GPU, puts the time of both forms of the kernels beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from stream.flow.launches import PATCH, DisPlan

LANES = 4
PIXEL_INSTRUCTIONS = 21
"""Of one pixel of a patch in one evaluation: 15 floating-point ones as they are written (4 products and 4 sums to
interpolate and subtract; 7 for the four sums), 2 loads, 2 conversions from a byte, and 2 for addresses."""
SETUP_INSTRUCTIONS = 90
"""Of a thread in one evaluation besides its pixels: place, weights, clamped columns, shuffles, the step."""
EVALUATION_LATENCY = 250
"""Clocks of an evaluation during which its thread waits: the first load, sums, shuffles, two divisions."""
DENSIFY_INSTRUCTIONS = 40
"""Of one patch over one pixel."""
REGISTERS = 128
"""Of search_tiled, as the compiler reports them."""


@dataclass(frozen=True)
class Gpu:
    name: str
    processors: int
    clock_hz: float
    bytes_per_s: float
    lanes: int = 128
    schedulers: int = 4
    registers: int = 65536
    launch_s: float = 2e-6

    @property
    def instructions_per_s(self) -> float:
        return self.processors * self.lanes * self.clock_hz


H100 = Gpu("H100 SXM", processors=132, clock_hz=1.755e9, bytes_per_s=3.35e12)


@dataclass(frozen=True)
class Work:
    """Of one camera and tick. chain_clocks: the length of the search for one camera alone."""

    bytes: int
    instructions: int
    chain_clocks: float
    threads: int


@dataclass(frozen=True)
class Expected:
    """Milliseconds a tick for so many cameras."""

    cameras: int
    memory_ms: float
    arithmetic_ms: float
    chain_ms: float
    launch_ms: float
    total_ms: float


def count(plan: DisPlan, gpu: Gpu = H100) -> Work:
    """Upper bounds: every descent takes all its steps."""
    evaluations = 3 + plan.descents - 1  # own vector, two neighbours; the first descent uses the best one's sums
    patch_bytes = 20 + 20 + 8 + 8  # tensor written and read, flow written and read
    pixel_bytes = 1 + 4 + 4  # differentiate: picture, gradient; gather_tensor
    pixel_bytes += 2 + 4  # search: both pictures, gradient
    pixel_bytes += 2 + 8  # densify: both pictures, flow
    total_bytes = sum(size.pixels * pixel_bytes + size.patches * patch_bytes for size in plan.sizes)
    total_bytes += sum(10 * size.pixels for size in plan.sizes[:-1])  # shrink: four pixels to one, both pictures
    instructions = chain = 0.0
    per_thread = PATCH * PATCH // LANES * PIXEL_INSTRUCTIONS + SETUP_INSTRUCTIONS
    for size in plan.sizes:
        instructions += 2 * size.patches * evaluations * LANES * per_thread
        instructions += size.pixels * ((PATCH / plan.stride) ** 2 * DENSIFY_INSTRUCTIONS + 40)
        warps_per_scheduler = math.ceil(math.ceil(LANES * size.rows / 32) / gpu.schedulers)
        chain += size.waves * evaluations * (per_thread * warps_per_scheduler + EVALUATION_LATENCY)
    return Work(total_bytes, round(instructions), chain, -(-LANES * plan.sizes[-1].rows // 32) * 32)


def expect(plan: DisPlan, cameras: int, gpu: Gpu = H100) -> Expected:
    work = count(plan, gpu)
    beside = gpu.processors * max(1, gpu.registers // (REGISTERS * work.threads))
    memory_s = cameras * work.bytes / gpu.bytes_per_s
    arithmetic_s = cameras * work.instructions / gpu.instructions_per_s
    chain_s = math.ceil(cameras / beside) * work.chain_clocks / gpu.clock_hz
    launch_s = len(plan.launches(cameras, tiled=True)) * gpu.launch_s
    total_s = max(memory_s, arithmetic_s, chain_s) + launch_s
    return Expected(cameras, *(1e3 * s for s in (memory_s, arithmetic_s, chain_s, launch_s, total_s)))


def measure(plan: DisPlan, cameras: int, *, tiled: bool, repeats: int = 20) -> float:
    """Milliseconds a tick on this machine's GPU, pictures and result on the device: the median.

    As in a live batch, all launches are one recorded graph.
    """
    from stream.flow.cuda import CudaFlow

    noise = np.random.default_rng(1).random((plan.height, plan.width), np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    flow = CudaFlow("ultrafast", plan.finest_scale, tiled=tiled)
    device = flow.device
    addresses = []
    for picture in (texture, np.roll(texture, 2, axis=1)):
        staged = device.pinned((cameras, plan.height, plan.width), np.uint8)
        staged[:] = picture
        addresses.append(device.allocate(staged.nbytes))
        device.upload(addresses[-1], staged)
    addresses.append(device.allocate(8 * cameras * plan.height * plan.width))

    def launch() -> None:
        flow.flow.launch(cameras, plan.height, plan.width, *addresses)

    launch()  # what is done at the first launch cannot be recorded
    device.synchronise()
    replay = device.record(launch)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        replay()
        device.synchronise()
        times.append(time.perf_counter() - started)
    del replay
    flow.close()
    return float(np.median(times) * 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="224x224", help="width x height")
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 64, 1000])
    parser.add_argument("--measure", action="store_true", help="measure both forms on this machine's GPU")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    plan = DisPlan(height, width, "ultrafast", 0)
    work = count(plan)
    rows = [asdict(expect(plan, cameras)) for cameras in arguments.cameras]
    if arguments.measure:
        for row in rows:
            row |= {
                "tiled_measured_ms": measure(plan, row["cameras"], tiled=True),
                "reference_measured_ms": measure(plan, row["cameras"], tiled=False),
            }
    if arguments.json:
        print(json.dumps({"gpu": H100.name, "size": arguments.size, "work": asdict(work), "expected": rows}))
        return
    table = Table(*(name.replace("_ms", ", ms").replace("_", " ") for name in rows[0]))
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    console = Console()
    console.print(
        f"{H100.name}, {arguments.size}, one camera and tick: {work.bytes / 1e6:.2f} MB, "
        f"{work.instructions / 1e6:.1f} M instructions, {plan.bytes(1) / 2**20:.2f} MiB of working memory; "
        f"a chain of {work.chain_clocks / 1e3:.0f} k clocks"
    )
    console.print(table)


if __name__ == "__main__":
    main()
