"""What dense inverse search on a GPU consists of: buffers, and kernels launched one after another.

Only sizes and addresses: whoever runs it (CUDA, or the CPU in tests) gives memory and launches. The kernels are
kernels/dis.cu, the reference form, kernels/dis_tiled.cu, the fast one, and kernels/refine.cu.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

PATCH = 8
BANDS = 8
ALIGNMENT = 256
THREADS = 128
TILE_WIDTH, TILE_HEIGHT = 32, 8
MAX_TILED_ROWS = 512 // 4
"""Four threads search a row of patches, and each takes up to 128 of a processor's 65,536 registers."""
MAX_SHARED_BYTES = 48 * 1024
"""What every GPU grants a block without being asked."""

RELAXATIONS = 5
"""Of the equations of each fixed-point iteration of the refinement."""
REFINEMENT_PLANES = 10


class Preset(NamedTuple):
    """One of OpenCV's. descents: steps of gradient descent in both passes together; iterations: fixed-point ones."""

    stride: int
    descents: int
    iterations: int


PRESETS = {"ultrafast": Preset(4, 12, 0), "fast": Preset(4, 16, 5), "medium": Preset(3, 25, 5)}


class Level(ctypes.Structure):
    """The argument of every kernel: struct Level of kernels/dis.cu."""

    _fields_ = (
        ("picture", ctypes.c_void_p * 2),
        ("source", ctypes.c_void_p * 2),
        ("gradient", ctypes.c_void_p),
        ("tensor", ctypes.c_void_p),
        ("sparse", ctypes.c_void_p),
        ("coarse", ctypes.c_void_p),
        ("flow", ctypes.c_void_p),
        ("refinement", ctypes.c_void_p),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("source_height", ctypes.c_int32),
        ("source_width", ctypes.c_int32),
        ("coarse_height", ctypes.c_int32),
        ("coarse_width", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("cols", ctypes.c_int32),
        ("stride", ctypes.c_int32),
        ("descents", ctypes.c_int32),
    )


class Launch(NamedTuple):
    """A kernel, launched with (level, argument). grid: blocks in x, y (cameras) and z."""

    kernel: str
    level: int
    argument: int
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int = 0


@dataclass(frozen=True)
class Size:
    """One level of the pyramid: the picture, px, and its grid of patches."""

    height: int
    width: int
    rows: int
    cols: int

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def patches(self) -> int:
        return self.rows * self.cols

    @property
    def waves(self) -> int:
        """How many waves the search takes: two passes over the anti-diagonals of a band of patches."""
        return 2 * (self.cols + math.ceil(self.rows / BANDS) - 1)


class DisPlan:
    """Dense inverse search between pictures of one size.

    sizes: of the levels, from the coarsest to the finest. Raises ValueError for pictures too small.
    """

    def __init__(
        self, height: int, width: int, preset: Literal["ultrafast", "fast", "medium"], finest_scale: int
    ) -> None:
        self.height, self.width = height, width
        self.stride, descents, self.iterations = PRESETS[preset]
        self.descents = descents // 2
        coarsest = -1
        if min(height, width) >= PATCH:
            # The largest movement looked for is a quarter of the picture; the smallest level still holds a patch.
            coarsest = int(math.log2(max(height, width) / (4 * PATCH)) + 0.5)
            coarsest = min(coarsest, int(math.log2(min(height, width) // PATCH)))
        if coarsest < finest_scale:
            raise ValueError(f"pictures of {width}x{height} are too small for flow with finest_scale {finest_scale}")
        self.finest_scale = finest_scale
        finest = (height >> finest_scale, width >> finest_scale)
        halvings = range(coarsest - finest_scale, -1, -1)
        self.sizes = tuple(self._size(finest[0] >> n, finest[1] >> n) for n in halvings)

    def _size(self, height: int, width: int) -> Size:
        return Size(height, width, 1 + (height - PATCH) // self.stride, 1 + (width - PATCH) // self.stride)

    def bytes(self, cameras: int) -> int:
        """Working memory for so many cameras; pictures and result come on top."""
        return self._lay_out(cameras)[1]

    def _lay_out(self, cameras: int) -> tuple[dict[str, int], int]:
        """Where each buffer begins in the working memory, and its length. Levels share what lives within one."""
        finest = self.sizes[-1]
        parts = {"gradient": 4 * finest.pixels, "tensor": 20 * finest.patches, "sparse": 8 * finest.patches}
        parts["refinement"] = 4 * REFINEMENT_PLANES * finest.pixels if self.iterations else 0
        for number, size in enumerate(self.sizes):
            parts |= {f"{which}{number}": size.pixels for which in ("prev", "following")}
            parts[f"flow{number}"] = 8 * size.pixels
        offsets, end = {}, 0
        for name, size_bytes in parts.items():
            offsets[name] = end
            end += -(-cameras * size_bytes // ALIGNMENT) * ALIGNMENT
        return offsets, end

    def levels(self, cameras: int, memory: int, prev: int, following: int, flow: int) -> list[Level]:
        """The kernels' arguments. Addresses: working memory of `bytes(cameras)`, both batches of pictures, result."""
        offsets, _ = self._lay_out(cameras)
        at = {name: memory + offset for name, offset in offsets.items()}
        last = len(self.sizes) - 1
        if self.finest_scale == 0:
            at |= {f"prev{last}": prev, f"following{last}": following, f"flow{last}": flow}
        levels = []
        for number, size in enumerate(self.sizes):
            level = Level(
                (at[f"prev{number}"], at[f"following{number}"]),
                (prev, following),
                at["gradient"],
                at["tensor"],
                at["sparse"],
                None,
                at[f"flow{number}"],
                at["refinement"],
                size.height,
                size.width,
                self.height,
                self.width,
                rows=size.rows,
                cols=size.cols,
                stride=self.stride,
                descents=self.descents,
            )
            if number < last:
                finer = self.sizes[number + 1]
                level.source = (at[f"prev{number + 1}"], at[f"following{number + 1}"])
                level.source_height, level.source_width = finer.height, finer.width
            if number > 0:
                _set_coarse(level, at[f"flow{number - 1}"], self.sizes[number - 1])
            levels.append(level)
        if self.finest_scale > 0:
            level = Level(flow=flow, height=self.height, width=self.width)
            _set_coarse(level, at[f"flow{last}"], self.sizes[last])
            levels.append(level)
        return levels

    def launches(self, cameras: int, tiled: bool) -> list[Launch]:
        """Everything from pictures to flow, in order."""
        launches = []
        coarser = reversed(range(len(self.sizes) - (self.finest_scale == 0)))
        for number in coarser:
            launches.append(_over("shrink", number, self.sizes[number].pixels, cameras, pictures=2))
        for number, size in enumerate(self.sizes):
            launches.append(_over("differentiate", number, size.pixels, cameras))
            launches.append(_over("gather_tensor", number, size.patches, cameras))
            if tiled and self._fits_tiles(size):
                threads = -(-4 * size.rows // 32) * 32
                launches.append(Launch("search_tiled", number, 0, (1, cameras, 1), threads, 8 * size.patches))
            else:
                launches += [_over("search_wave", number, size.rows, cameras, wave) for wave in range(size.waves)]
            if tiled:
                launches.append(self._densify_tiled(number, size, cameras))
            else:
                launches.append(_over("densify", number, size.pixels, cameras))
            if self.iterations:
                launches += self._refine(number, size, cameras)
        if self.finest_scale > 0:
            scale = 1 << self.finest_scale
            launches.append(_over("enlarge", len(self.sizes), self.height * self.width, cameras, scale))
        return launches

    def _refine(self, number: int, size: Size, cameras: int) -> list[Launch]:
        colours = [_over("relax", number, size.pixels, cameras, colour) for colour in (0, 1)]
        iteration = [_over(kernel, number, size.pixels, cameras) for kernel in ("weigh", "assemble")]
        first, last = (_over(kernel, number, size.pixels, cameras) for kernel in ("warp", "increment"))
        return [first, *self.iterations * (iteration + RELAXATIONS * colours), last]

    def _densify_tiled(self, number: int, size: Size, cameras: int) -> Launch:
        tiles = math.ceil(size.height / TILE_HEIGHT) * math.ceil(size.width / TILE_WIDTH)
        down, across = (1 + (side + PATCH - 2) // self.stride for side in (TILE_HEIGHT, TILE_WIDTH))
        return Launch("densify_tiled", number, 0, (tiles, cameras, 1), TILE_HEIGHT * TILE_WIDTH, 8 * down * across)

    @staticmethod
    def _fits_tiles(size: Size) -> bool:
        return size.rows <= MAX_TILED_ROWS and 8 * size.patches <= MAX_SHARED_BYTES


def _set_coarse(level: Level, flow: int, size: Size) -> None:
    level.coarse, level.coarse_height, level.coarse_width = flow, size.height, size.width


def _over(kernel: str, level: int, items: int, cameras: int, argument: int = 0, pictures: int = 1) -> Launch:
    """One thread for each item of each camera."""
    return Launch(kernel, level, argument, (math.ceil(items / THREADS), cameras, pictures), THREADS)
