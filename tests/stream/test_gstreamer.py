"""Which unwinder C++ exceptions of libraries loaded later will use."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Where the process's symbol for unwinding comes from: dladdr of what every later library is bound to.
WHERE = """
import ctypes
import stream.source

class Info(ctypes.Structure):
    _fields_ = [("file", ctypes.c_char_p), ("at", ctypes.c_void_p), ("name", ctypes.c_char_p), ("to", ctypes.c_void_p)]

everything, info = ctypes.CDLL(None), Info()
address = ctypes.cast(everything._Unwind_RaiseException, ctypes.c_void_p)
assert everything.dladdr(address, ctypes.byref(info))
print(info.file.decode())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Debian's libunwind")
def test_exceptions_are_unwound_by_the_compilers_runtime() -> None:
    done = subprocess.run([sys.executable, "-c", WHERE], check=True, capture_output=True, text=True)
    assert "libgcc_s" in done.stdout
