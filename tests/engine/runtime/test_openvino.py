from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from engine.bundle import Bundle, BundleError, _sha256
from engine.runtime.base import EngineError
from engine.runtime.openvino import OpenVINOEngine


@pytest.fixture(scope="module")
def bundle(exported):
    return Bundle.load(exported)


@pytest.fixture(scope="module")
def engine(bundle):
    engine = OpenVINOEngine(bundle, threads=2, precision="fp32")
    yield engine
    engine.close()


@pytest.fixture
def slots(engine):
    slots = [engine.open_slot() for _ in range(5)]
    yield slots
    for slot in slots:
        engine.close_slot(slot)


def test_windows_in_a_row_equal_torch(engine, bundle, slots):
    reference = bundle.reference()
    for window in range(len(reference.logits)):
        rows = slice(window, window + 1)
        logits, finite = engine.infer(slots[:1], reference.picture[rows], reference.flow[rows])
        assert finite.all()
        assert np.abs(logits - reference.logits[rows]).max() < 1e-4
        for state, expected in zip(engine.state(slots[0]), reference.states, strict=True):
            assert np.abs(state - expected[window]).max() < 1e-4


def test_a_batch_equals_each_alone(engine, bundle, slots, clips):
    """Five streams on two requests: whatever shares a batch, a stream gets what it gets alone."""
    picture, flow = clips(bundle.spec, 5, 3, seed=1)
    together = [engine.infer(slots, picture[:, w], flow[:, w]).logits for w in range(3)]
    for row in range(5):
        alone = engine.open_slot()
        for w in range(3):
            logits, _ = engine.infer([alone], picture[row : row + 1, w], flow[row : row + 1, w])
            assert np.array_equal(logits[0], together[w][row])
        engine.close_slot(alone)


def test_nan_and_reset_touch_no_other_slot(engine, bundle, slots, clips):
    picture, flow = clips(bundle.spec, 5, 3, seed=2)
    clean = [engine.infer(slots, picture[:, w], flow[:, w]).logits for w in range(3)]

    for slot in slots:
        engine.reset_slot(slot)
    spoilt = flow.copy()
    spoilt[1, 1, 0, 0, 5, 5] = np.nan
    engine.infer(slots, picture[:, 0], spoilt[:, 0])
    logits, finite = engine.infer(slots, picture[:, 1], spoilt[:, 1])
    assert finite.tolist() == [True, False, True, True, True]
    assert not any(s.any() for s in engine.state(slots[1])), "a state that was not finite is zeroed"
    engine.reset_slot(slots[2])
    others = [0, 3, 4]
    assert np.array_equal(logits[others], clean[1][others])
    logits, finite = engine.infer(slots, picture[:, 2], spoilt[:, 2])
    assert finite.all(), "the slot recovers at once"
    assert np.array_equal(logits[others], clean[2][others])
    fresh = engine.open_slot()
    for row in (1, 2):  # zeroed and reset alike: as a stream that begins here
        engine.reset_slot(fresh)
        expected, _ = engine.infer([fresh], picture[row : row + 1, 2], flow[row : row + 1, 2])
        assert np.array_equal(logits[row], expected[0])
    engine.close_slot(fresh)


def test_what_does_not_fit_is_refused(engine, bundle, slots, clips):
    picture, flow = (x[:, 0] for x in clips(bundle.spec, 2))
    with pytest.raises(ValueError, match=r"picture is uint8 \[2, 4, 40, 24, 3\], expected .* for 3 slots"):
        engine.infer(slots[:3], picture, flow)
    with pytest.raises(ValueError, match="flow is float32"):
        engine.infer(slots[:2], picture, flow.astype(np.float32))
    with pytest.raises(ValueError, match="twice"):
        engine.infer([slots[0], slots[0]], picture, flow)


def test_bf16_is_refused_where_the_cpu_lacks_it(bundle):
    import openvino as ov

    if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert OpenVINOEngine(bundle).info.precision == "bf16"
    else:
        assert OpenVINOEngine(bundle).info.precision == "fp32"
        with pytest.raises(EngineError, match="does not compute in bf16"):
            OpenVINOEngine(bundle, precision="bf16")


def replaced_graph(bundle, folder, change):
    shutil.copytree(bundle.path, folder)
    path = folder / "network.fp32.onnx"
    change(path)
    manifest = yaml.safe_load((folder / "model.yaml").read_text())
    manifest["files"][path.name] = _sha256(path)
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
    return Bundle.load(folder)


def test_a_graph_of_another_model_is_refused(bundle, tmp_path):
    def rename(path):
        graph = onnx.load(path)
        for node in graph.graph.node:
            node.output[:] = ["scores" if o == "logits" else o for o in node.output]
        graph.graph.output[0].name = "scores"
        onnx.save(graph, path)

    with pytest.raises(BundleError, match=r"network\.fp32\.onnx is not the network of model 'small': output logits"):
        OpenVINOEngine(replaced_graph(bundle, tmp_path / "renamed", rename))


def test_a_graph_that_is_none_is_refused(bundle, tmp_path):
    other = replaced_graph(bundle, tmp_path / "none", lambda path: path.write_bytes(b"not a graph"))
    with pytest.raises(EngineError, match=r"cannot compile .*network\.fp32\.onnx"):
        OpenVINOEngine(other)


def test_serving_imports_no_torch():
    code = (
        "import sys, engine.runtime.choose, engine.network.cost; "
        "print(sorted({'torch', 'tensorrt', 'pycuda', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_signal_after_models_that_went_in_the_order_they_came(motion_bundle: Bundle) -> None:
    """OpenVINO would leave the thread a freed stack for signals: in a process of its own, which a signal would end."""
    code = f"""
import os, signal
from engine.bundle import Bundle
from engine.runtime.openvino import OpenVINOEngine
bundle = Bundle.load({str(motion_bundle.path)!r})
older, newer = (OpenVINOEngine(bundle, precision="fp32") for _ in range(2))
older.close()
del older
newer.close()
del newer
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
os.kill(os.getpid(), signal.SIGINT)
assert heard
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 0
