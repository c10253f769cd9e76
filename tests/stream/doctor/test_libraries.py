from __future__ import annotations

import sys
from importlib.metadata import version

import pytest

from stream.doctor.libraries import gpu_libraries, needed_libraries


def test_what_every_command_imports_is_here() -> None:
    checks = needed_libraries()
    assert all(check.ok and check.needed for check in checks)
    assert {check.name: check.found for check in checks}["openvino"] == version("openvino")


@pytest.mark.parametrize(
    ("module", "name", "advice"),
    [("cv2", "opencv-python", "apt install libgl1"), ("stream.gstreamer", "PyGObject", "gir1.2-gstreamer-1.0")],
)
def test_one_that_does_not_load(module: str, name: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (failed,) = (check for check in needed_libraries() if not check.ok)
    assert (failed.name, failed.needed) == (name, True)
    assert advice in failed.advice


def test_gpu_libraries_are_not_loaded() -> None:
    before = set(sys.modules)
    checks = {check.name: check for check in gpu_libraries()}
    assert not {"tensorrt", "tensorrt_rtx", "pycuda"} & (set(sys.modules) - before)
    assert checks["NVRTC"].found == version("cuda-core")
    if not checks["PyCUDA"].ok:
        assert "swinstream[gpu]" in checks["PyCUDA"].advice
