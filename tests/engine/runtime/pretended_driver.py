"""An NVIDIA driver library in C that shows GPUs which are not there: what is asked by ctypes is really asked."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

from engine.runtime import driver

SOURCE = r"""
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = GPUS; return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Pretended GPU", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)16384 << 20; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? MAJOR : MINOR;
    return 0;
}
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *, gpus: int, capability: tuple[int, int]) -> None:
    library = folder / f"libcuda-{gpus}.so"
    defined = [f"-DGPUS={gpus}", f"-DMAJOR={capability[0]}", f"-DMINOR={capability[1]}"]
    command = ["gcc", "-shared", "-fPIC", *defined, "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=SOURCE, text=True, check=True)
    loaded = ctypes.CDLL(str(library))
    monkeypatch.setattr(driver, "_library", lambda: loaded)
