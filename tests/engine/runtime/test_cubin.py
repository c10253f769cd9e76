from __future__ import annotations

import re

import pytest

pytest.importorskip("cuda.core")

from engine.runtime.cubin import KERNELS, compile_kernels
from engine.runtime.cuda import SIGNATURES


@pytest.mark.parametrize("capability", [75, 80, 86, 89, 90, 100, 120])
def test_the_kernels_compile_for_every_gpu(capability):
    cubin = compile_kernels(capability)
    assert cubin.startswith(b"\x7fELF")
    assert all(name.encode() in cubin for name in SIGNATURES)


def test_the_signatures_are_those_of_the_source():
    """PyCUDA packs arguments by these letters, unchecked: P an address, i an int32."""
    found = {
        name: "".join("P" if "*" in argument else "i" for argument in arguments.split(","))
        for name, arguments in re.findall(r"__global__ void (\w+)\(([^)]*)\)", KERNELS.read_text())
    }
    assert found == SIGNATURES
