"""CUDA source to a cubin, machine code for one GPU architecture.

NVRTC, NVIDIA's compiler as a library (wheels `cuda-core` and `nvidia-cuda-nvrtc`), needs neither the CUDA toolkit nor
a GPU, so it serves at run time and in CI. Any driver of that GPU loads a cubin; PTX would need a driver as new as the
compiler.
"""

from __future__ import annotations

from engine.runtime.base import EngineError

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
"""Compute capabilities without their point, from Turing to Blackwell: what CI compiles all kernels for."""


def compile_cubin(source: str, name: str, architecture: int, *, fma: bool | None = None) -> bytes:
    """Kept in the user's cache, by source, options and compiler version.

    name: of the source, for messages. architecture: for example 90. fma: fuse multiplications and additions; None:
    NVRTC's choice. Raises EngineError where NVRTC is missing or refuses the source.
    """
    try:
        from cuda.core import Program, ProgramOptions
        from cuda.core.utils import FileStreamProgramCache

        program = Program(source, "c++", ProgramOptions(arch=f"sm_{architecture}", fma=fma, name=name))
        return bytes(program.compile("cubin", cache=FileStreamProgramCache()).code)
    except ImportError as error:
        raise EngineError(f"NVRTC is missing ({error}): pip install 'swinstream[gpu]'") from error
    except Exception as error:  # NVRTC's own have no public class, and a missing library another
        said = " ".join(str(error).split())
        raise EngineError(f"NVRTC does not compile {name} for sm_{architecture}: {said[:300]}") from error
