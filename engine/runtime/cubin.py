"""CUDA source to a cubin, machine code for one architecture, by NVRTC: needs neither the CUDA toolkit nor a GPU."""

from __future__ import annotations

from pathlib import Path

from engine.runtime.base import EngineError

KERNELS = Path(__file__).parent / "kernels" / "state.cu"


def compile_kernels(capability: int) -> bytes:
    """kernels/state.cu for a compute capability, for example 90. Raises EngineError where NVRTC is missing."""
    try:
        return nvrtc(KERNELS.read_text(encoding="utf-8"), KERNELS.name, capability)
    except ImportError as error:
        raise EngineError(f"NVRTC is missing ({error}): pip install 'swinstream[gpu]'") from error


def nvrtc(source: str, name: str, capability: int, *, fma: bool | None = None) -> bytes:
    """Any source, kept compiled in the user's cache. fma: fuse multiplications and additions; None: NVRTC's choice.

    Raises ImportError where NVRTC is missing.
    """
    from cuda.core import Program, ProgramOptions
    from cuda.core.utils import FileStreamProgramCache

    program = Program(source, "c++", ProgramOptions(arch=f"sm_{capability}", fma=fma, name=name))
    return bytes(program.compile("cubin", cache=FileStreamProgramCache()).code)
