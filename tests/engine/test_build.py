"""Building engines. TensorRT for RTX builds here as it does on a GPU machine; what needs a GPU is in tests/gpu."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine.build import Recipe, build_engine, graph_for
from engine.build_command import build
from engine.bundle import Bundle, BundleError, shipped
from engine.cache import EngineCache
from engine.narrow import widened
from engine.parity import check_parity
from engine.runtime.base import EngineError
from engine.runtime.openvino import OpenVINOEngine
from engine.tensorrt_build import TensorRTOptions, build_plan

without_gpu = pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="what is said where there is no GPU")


@pytest.fixture(scope="module")
def bundle(exported):
    return Bundle.load(exported)


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path)


def test_openvino_from_the_cache_computes_the_same(bundle, cache):
    built = build_engine(bundle, Recipe("openvino", "fp32"), cache=cache)
    assert built.fresh
    found = build_engine(bundle, Recipe("openvino", "fp32"), cache=cache)
    assert not found.fresh
    engine = OpenVINOEngine(bundle, precision="fp32", blob=found.payload)
    assert check_parity(engine, bundle.reference()).used < 0.2
    engine.close()


def test_a_damaged_engine_is_built_again(bundle, cache):
    path = build_engine(bundle, Recipe("openvino", "fp32"), cache=cache).path
    path.write_bytes(path.read_bytes()[:-1])
    assert build_engine(bundle, Recipe("openvino", "fp32"), cache=cache).fresh
    assert not build_engine(bundle, Recipe("openvino", "fp32"), cache=cache).fresh
    assert build_engine(bundle, Recipe("openvino", "fp32"), cache=cache, again=True).fresh


def test_precisions_that_cannot_be_had(bundle, cache):
    with pytest.raises(BundleError, match=r"model 'small' .* has no int8 graph: `swinstream calibrate int8`"):
        build_engine(bundle, Recipe("tensorrt-rtx", "int8"), cache=cache)
    with pytest.raises(EngineError, match="fp16 is for TensorRT"):
        build_engine(bundle, Recipe("openvino", "fp16"), cache=cache)


RTX = [
    ("fp16", (75, 86, 89, 120)),
    ("fp32", (86, 89, 120)),
    ("bf16", (86, 89, 120)),
]


@pytest.mark.parametrize(("precision", "capabilities"), RTX, ids=str)
def test_rtx_builds_the_shared_bundle(bundle, cache, precision, capabilities):
    pytest.importorskip("tensorrt_rtx")
    phases = Phases()
    options = TensorRTOptions(capabilities, workspace_mib=2048)
    built = build_engine(bundle, Recipe("tensorrt-rtx", precision, (1, 4), options), cache=cache, progress=phases)
    assert built.fresh
    assert phases.finished == phases.started
    assert built.key.device == ", ".join(f"sm_{c}" for c in capabilities)
    assert not build_engine(bundle, Recipe("tensorrt-rtx", precision, (4, 1), options), cache=cache).fresh
    assert cache.load(built.key) == built.payload


def test_rtx_builds_int8(bundle):
    """Q/DQ nodes per channel round the products, as calibration puts them, and fp16 between."""
    pytest.importorskip("tensorrt_rtx")
    from engine.precision import to_half

    graph = widened(onnx.load(bundle.onnx()))
    assert quantise(graph) > 5
    onnx.checker.check_model(graph, full_check=True)
    plan = build_plan(
        to_half(graph, "fp16").SerializeToString(),
        bundle.spec,
        "tensorrt-rtx",
        (1,),
        TensorRTOptions((75, 86, 89, 120)),
    )
    assert len(plan) > 10_000


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_rtx_builds_what_ships(cache, name, precision):
    pytest.importorskip("tensorrt_rtx")
    capabilities = (86, 89, 120) if precision == "fp32" else (75, 86, 89, 120)
    options = TensorRTOptions(capabilities)
    assert build_engine(Bundle.load(name), Recipe("tensorrt-rtx", precision, (1,), options), cache=cache).fresh


def test_rtx_builds_the_published_size(published, recognizer, tmp_path):
    """`tiny` with memory at its end, 16 ticks of 112x112: few nodes, and built in fp32, fp16 and int8."""
    pytest.importorskip("tensorrt_rtx")
    from engine.export import export_onnx
    from engine.precision import to_half

    spec = published(k=101, ticks=16, height=112, width=112, memory="head")
    export_onnx(recognizer(spec), tmp_path / "tiny.onnx")
    graph = onnx.load(tmp_path / "tiny.onnx")
    assert len(graph.graph.node) <= 900
    fp16 = to_half(graph, "fp16").SerializeToString()
    assert build_plan(fp16, spec, "tensorrt-rtx", (1,), TensorRTOptions((75, 86, 89, 120)))
    assert build_plan(graph.SerializeToString(), spec, "tensorrt-rtx", (1,), TensorRTOptions((86, 89, 120)))
    quantise(widened(graph))
    int8 = to_half(graph, "fp16").SerializeToString()
    assert build_plan(int8, spec, "tensorrt-rtx", (1,), TensorRTOptions((75, 86, 89, 120)))


def quantise(graph):
    """Q/DQ with made-up scales round each product with constant weights; how many."""
    weights = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    nodes, made = [], 0
    for node in graph.graph.node:
        if node.op_type in {"MatMul", "Conv"} and node.input[1] in weights:
            name, values = node.input[1], weights[node.input[1]]
            axis = values.ndim - 1 if node.op_type == "MatMul" else 0
            others = tuple(i for i in range(values.ndim) if i != axis)
            scale = np.abs(values).max(axis=others, keepdims=True) / 127 + 1e-3
            quantised = np.round(values / scale).astype(np.int8)
            constants = {
                f"{name}_q": quantised,
                f"{name}_scale": scale.reshape(-1).astype(np.float32),
                f"{name}_zero": np.zeros(scale.size, np.int8),
                f"{node.name}_scale": np.float32(0.05),
                f"{node.name}_zero": np.int8(0),
            }
            known = {i.name for i in graph.graph.initializer}  # one cell's weights serve every step
            graph.graph.initializer.extend(
                numpy_helper.from_array(np.array(v), k) for k, v in constants.items() if k not in known
            )
            x, q = node.input[0], f"{node.name}_q"
            pair = [f"{node.name}_scale", f"{node.name}_zero"]
            nodes += [
                onnx.helper.make_node("QuantizeLinear", [x, *pair], [q]),
                onnx.helper.make_node("DequantizeLinear", [q, *pair], [f"{q}_dq"]),
                onnx.helper.make_node(
                    "DequantizeLinear", [f"{name}_q", f"{name}_scale", f"{name}_zero"], [f"{q}_w"], axis=axis
                ),
            ]
            node.input[0], node.input[1] = f"{q}_dq", f"{q}_w"
            made += 1
        nodes.append(node)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return made


class Phases:
    """Implements BuildProgress."""

    def __init__(self):
        self.started, self.finished = 0, 0

    def start(self, phase, parent, steps):
        self.started += 1

    def step(self, phase, step):
        return True

    def finish(self, phase):
        self.finished += 1


@pytest.mark.parametrize(
    ("precision", "options", "message"),
    [
        ("fp32", TensorRTOptions((75,)), "no fp32 products on Turing"),
        ("fp16", TensorRTOptions((86, 90)), "no compute capability 90, only 75, 80, 86, 89, 120: use tensorrt"),
        ("fp16", TensorRTOptions((86,), hardware_compatible=True), "use --sm instead"),
    ],
)
def test_what_rtx_cannot_build_is_refused(bundle, cache, precision, options, message):
    with pytest.raises(EngineError, match=message):
        build_engine(bundle, Recipe("tensorrt-rtx", precision, options=options), cache=cache)


def test_a_graph_that_the_library_refuses_is_told_in_its_words(bundle):
    pytest.importorskip("tensorrt_rtx")
    graph = onnx.load(bundle.onnx())
    graph.graph.node[0].op_type = "NoSuchOperation"
    with pytest.raises(EngineError, match=r"tensorrt-rtx refuses the graph of 'small': .*NoSuchOperation"):
        build_plan(graph.SerializeToString(), bundle.spec, "tensorrt-rtx", (1,), TensorRTOptions((86,)))


def test_half_graphs_are_the_same_every_time(bundle):
    assert graph_for(bundle, "tensorrt", "fp16") == graph_for(bundle, "tensorrt", "fp16")


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "swinstream", "build", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def run(capsys, *arguments, target="openvino", precision="fp32", batch="1", sm="", cache):
    """Exit code, output and errors of the command."""
    code = build(*arguments, target, precision, batch, sm, TensorRTOptions(), cache, again=False, as_json=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err.strip()


@without_gpu
def test_the_command(exported, tmp_path, capsys):
    arguments = [str(exported), "--target", "openvino", "--cache", str(tmp_path), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "swinstream", "build", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert line["built"]
    assert line["parity"]["windows"] >= 10
    assert line["parity"]["top1"] == 1
    code, out, _ = run(capsys, str(exported), cache=tmp_path)
    assert code == 0
    assert "it was in the cache" in out
    code, out, _ = run(capsys, str(exported), target="tensorrt-rtx", precision="fp16", sm="86", cache=tmp_path)
    assert code == 0
    assert "not run: no GPU" in out
    code, _, err = run(capsys, str(exported), target="tensorrt", precision="fp16", cache=tmp_path)
    assert code == 1
    assert err == "this machine has no NVIDIA driver" or err.startswith("tensorrt is not installed")
    assert run(capsys, "nowhere", cache=tmp_path)[0] == 1
    assert run(capsys, str(exported), batch="1,x", cache=tmp_path)[0] == 2
