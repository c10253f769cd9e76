"""What the code promises about itself: what is imported when, by whom, and how large a module may be."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "stream", "train", "calibration")
MODULES = [
    *ROOT.glob("swinstream*.py"),
    *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")),
]
LARGE, TOO_LARGE = 350, 400  # lines
NEVER_LOADED = ("torch", "tensorrt", "pycuda", "onnx", "onnxruntime", "train", "calibration")

# Everything that the streaming commands import, then an engine as `auto` chooses it.
LOADED = """
import sys
import swinstream
from stream import commands, info
from stream.demo import command
from engine.runtime.choose import choose_engine
from engine.bundle import Bundle
choose_engine(Bundle.load(sys.argv[1])).close()
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_streaming_loads_no_torch_and_no_gpu_libraries(motion_bundle) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(motion_bundle.path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    assert {"stream", "engine", "zmq", "openvino"} <= loaded
    assert loaded.isdisjoint(NEVER_LOADED)


def test_the_command_line_alone_loads_nothing_heavy() -> None:
    code = "import sys, swinstream; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert set(done.stdout.split()).isdisjoint({*NEVER_LOADED, "stream", "engine", "numpy", "cv2", "openvino", "zmq"})


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module(path: Path) -> None:
    """Nobody imports the composition root; a module is a noun of the field; a large one warns, one too large fails."""
    assert "swinstream" not in imports_of(path)
    assert not {"utils", "util", "helpers", "helper", "common", "misc"} & {*path.relative_to(ROOT).parts, path.stem}
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem == "__init__"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= TOO_LARGE, f"more than {TOO_LARGE} lines: split it"
    if lines > LARGE:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn(f"{path.relative_to(ROOT)} has {lines} lines; more than {LARGE} is a lot", stacklevel=1)
