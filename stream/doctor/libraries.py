"""Which Python packages are here. Imports only those that every command needs, and none of them at its own import."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from stream.doctor.check import Check

GPU_EXTRA = "for an NVIDIA GPU: pip install 'swinstream[gpu]'"
_PYCUDA = f"{GPU_EXTRA}; it is built from source: apt install nvidia-cuda-toolkit, or NVIDIA's CUDA toolkit, before"
_AGAIN = "pip install --force-reinstall swinstream"

# Module, distribution, and what to do where importing it fails.
_NEEDED = (
    ("openvino", "openvino", _AGAIN),
    ("cv2", "opencv-python", f"apt install libgl1 (OpenCV's system library), or {_AGAIN}"),
    ("zmq", "pyzmq", _AGAIN),
    ("pydantic", "pydantic", _AGAIN),
    (
        "stream.gstreamer",
        "PyGObject" if sys.platform == "linux" else "gstreamer-python",
        "apt install gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 (GStreamer's bindings), then "
        "apt install gcc pkg-config python3-dev libgirepository1.0-dev libcairo2-dev && "
        "pip install 'PyGObject>=3.50,<3.52'",
    ),
)
# A name, the distributions that bring it (any), and how to get it.
_OF_GPU = (
    ("TensorRT", ("tensorrt",), GPU_EXTRA),
    (
        "TensorRT for RTX",
        ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"),
        "for a GeForce or RTX card: pip install tensorrt-rtx-cu13",
    ),
    ("PyCUDA", ("pycuda",), _PYCUDA),
    ("NVRTC", ("cuda-core",), GPU_EXTRA),
)


def needed_libraries() -> list[Check]:
    """What every command imports: imported here, because a library that is installed need not load."""
    return [_imported(module, distribution, advice) for module, distribution, advice in _NEEDED]


def gpu_libraries() -> Iterator[Check]:
    """What a GPU takes: only asked whether it is installed, since TensorRT and PyCUDA may not load without a GPU."""
    for name, distributions, advice in _OF_GPU:
        found = next(filter(None, map(_version, distributions)), "")
        yield Check(name, bool(found), found or "not installed", "" if found else advice)


def _imported(module: str, distribution: str, advice: str) -> Check:
    try:
        importlib.import_module(module)
    except (ImportError, ValueError, OSError) as error:  # gi: ValueError where a namespace is missing
        return Check(distribution, False, " ".join(str(error).split()), advice, needed=True)
    return Check(distribution, True, _version(distribution), needed=True)


def _version(distribution: str) -> str:
    """Empty where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
