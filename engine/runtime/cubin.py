"""CUDA source to a cubin, machine code for one architecture, by NVRTC: needs neither the CUDA toolkit nor a GPU."""

from __future__ import annotations

from pathlib import Path

from engine.runtime.base import EngineError

KERNELS = Path(__file__).parent / "kernels" / "state.cu"


def compile_kernels(capability: int) -> bytes:
    """kernels/state.cu for a compute capability, for example 90. Raises EngineError where NVRTC is missing."""
    try:
        from cuda.core import Program, ProgramOptions
        from cuda.core.utils import FileStreamProgramCache
    except ImportError as error:
        raise EngineError(f"NVRTC is missing ({error}): pip install 'swinstream[gpu]'") from error
    options = ProgramOptions(arch=f"sm_{capability}", name=KERNELS.name)
    program = Program(KERNELS.read_text(encoding="utf-8"), "c++", options)
    return bytes(program.compile("cubin", cache=FileStreamProgramCache()).code)
