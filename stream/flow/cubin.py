"""The kernels of dense inverse search, compiled for one GPU architecture.

NVRTC, NVIDIA's compiler as a library (wheels `cuda-core` and `nvidia-cuda-nvrtc`), needs neither the CUDA toolkit nor
a GPU, so it serves at run time and in CI; where it is missing, PyCUDA calls nvcc. Both make a cubin, machine code for
one architecture, which any driver of that GPU loads (PTX would need a driver as new as the compiler), and both keep it
in the user's cache, by source, options and compiler version.
"""

from __future__ import annotations

from pathlib import Path

from engine.runtime.base import EngineError
from engine.runtime.cubin import nvrtc

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
"""Compute capabilities without their point, from Turing to Blackwell: what CI compiles."""

_FOLDER = Path(__file__).parent / "kernels"


def kernel_source() -> str:
    """All in one piece: the tiled form and the refinement use the reference form's functions."""
    return "\n".join((_FOLDER / name).read_text() for name in ("dis.cu", "pyramid.cu", "dis_tiled.cu", "refine.cu"))


def compile_cubin(architecture: int) -> bytes:
    """The kernels for a compute capability, for example 90.

    Multiplications and additions stay apart, as they are in OpenCV: a fused one rounds once instead of twice.
    Raises EngineError where there is neither NVRTC nor nvcc.
    """
    source = kernel_source()
    try:
        return nvrtc(source, "dis.cu", architecture, fma=False)
    except ImportError as error:
        return _by_nvcc(source, architecture, error)


def _by_nvcc(source: str, architecture: int, missing: ImportError) -> bytes:
    try:
        from pycuda.compiler import compile as nvcc

        return bytes(nvcc(source, options=["-fmad=false"], no_extern_c=True, arch=f"sm_{architecture}"))
    except (ImportError, OSError) as error:
        raise EngineError(f"NVRTC and nvcc are missing ({missing}; {error}): pip install 'swinstream[gpu]'") from error
