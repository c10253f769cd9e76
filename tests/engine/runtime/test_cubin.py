from __future__ import annotations

import re

import pytest

pytest.importorskip("cuda.core")

from engine.runtime.base import EngineError
from engine.runtime.cubin import ARCHITECTURES, compile_cubin
from engine.runtime.resident import KERNELS
from engine.tensorrt_build import RTX_CAPABILITIES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_kernels_compile_for_every_gpu(architecture):
    source = KERNELS.read_text()
    cubin = compile_cubin(source, KERNELS.name, architecture)
    assert cubin.startswith(b"\x7fELF")
    names = re.findall(r"__global__ void (\w+)", source)
    assert len(names) == 4
    assert all(name.encode() in cubin for name in names)


def test_what_tensorrt_for_rtx_knows_is_among_them():
    assert set(RTX_CAPABILITIES) < set(ARCHITECTURES)


def test_what_does_not_compile_is_refused_in_words():
    with pytest.raises(
        EngineError, match=r"NVRTC does not compile wrong\.cu for sm_90: .*wrong\.cu\(1\): error: .*nothing"
    ):
        compile_cubin('extern "C" __global__ void wrong() { nothing; }', "wrong.cu", 90)
    with pytest.raises(EngineError, match=r"wrong\.cu for sm_37: .*gpu-architecture"):
        compile_cubin("", "wrong.cu", 37)
