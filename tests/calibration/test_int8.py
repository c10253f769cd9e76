"""int8 from footage to bundle, on the tiny network: every step is the real one."""

from __future__ import annotations

import json

import pytest

from calibration import agreement, graph
from calibration.commands import int8
from calibration.network import OpenVINONetwork, OrtNetwork, carried
from calibration.search import Search
from engine.bundle import Bundle
from engine.parity import LIMITS, compare
from engine.runtime.choose import choose_engine


@pytest.fixture(scope="module")
def made(tiny_bundle, footage, tmp_path_factory) -> Bundle:
    out = tmp_path_factory.mktemp("made") / "int8"
    assert int8(str(tiny_bundle.path), [str(footage)], windows=16, minutes=1, out=out) == 0
    return Bundle.load(out)


def test_the_bundle_holds_the_graph_and_what_was_measured(made, tiny_bundle):
    assert made.precisions == ["fp32", "int8"]
    assert made.thresholds == tiny_bundle.thresholds
    report = json.loads((made.path / "int8.json").read_text())
    assert report["of"] == tiny_bundle.identity
    assert {row["runtime"] for row in report["check"]} == {"openvino", "onnxruntime"}
    for row in report["check"]:
        assert row["windows"] >= 10
        assert row["share"] >= agreement.MIN_AGREEMENT
        assert row["clips"] >= 1
        assert row["lost"] == []
    assert {row["name"] for row in report["layers"] if row["int8"]} >= {"head"}
    assert sum(row["seen"] for row in report["coverage"] if row["of"] == "label") >= 4
    assert "| openvino |" in (made.path / "int8.md").read_text()


def test_both_runtimes_run_the_graph_that_was_written(made):
    data = made.onnx("int8").read_bytes()
    reference = made.reference()
    for network in (OrtNetwork(data, made.spec), OpenVINONetwork(data, made.spec)):
        parity = compare(carried(network, made.spec), reference, made.spec, "int8", "it")
        assert parity.used < 1
        assert parity.states_rms < 0.1


def test_the_engine_serves_what_was_made(made):
    engine = choose_engine(made, "openvino", "int8")
    assert engine.info.precision == "int8"
    engine.close()


def test_a_graph_that_the_engine_would_refuse_is_not_written(tiny_bundle, footage, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(LIMITS, "int8", LIMITS["int8"]._replace(states_rms=1e-9))
    assert int8(str(tiny_bundle.path), [str(footage)], windows=16, minutes=1, out=tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()
    assert "openvino does not compute model" in capsys.readouterr().out


def test_a_graph_that_decides_otherwise_is_not_written(tiny_bundle, footage, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(agreement, "MIN_AGREEMENT", 1.01)
    assert int8(str(tiny_bundle.path), [str(footage)], windows=16, minutes=1, out=tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()
    assert "does not decide as f32 does" in capsys.readouterr().err


def test_a_layer_that_hurts_is_left_in_f32(tiny_bundle, monkeypatch):
    """With ranges so wide that all in them is zero, the layer behind them is wrong in int8, and no other is."""
    reference = tiny_bundle.reference()
    sample = [[reference.picture[i : i + 1], reference.flow[i : i + 1], *(s[i : i + 1] for s in reference.states)]
              for i in range(len(reference.logits))]  # fmt: skip
    model = graph.load(str(tiny_bundle.onnx()))
    choose = Search._choose_ranges

    def spoiled(search, model, layers):
        limits, methods = choose(search, model, layers)
        return {t: limit * 10_000 if t == "stacked" else limit for t, limit in limits.items()}, methods

    monkeypatch.setattr(Search, "_choose_ranges", spoiled)
    found = Search(model, tiny_bundle.spec, sample, lambda stage, left: None).run()
    assert {row.layer.name: row.int8 for row in found.layers} == {"conv": False, "head": True, "memory": True}
    worst = max(found.layers, key=lambda row: row.error)
    assert worst.layer.name == "conv"
    assert min(found.agreement.values()) >= 0.995


def test_smoothing_is_taken_where_a_channel_stands_out(tiny_bundle):
    reference = tiny_bundle.reference()
    sample = [[reference.picture[i : i + 1], reference.flow[i : i + 1], *(s[i : i + 1] for s in reference.states)]
              for i in range(len(reference.logits))]  # fmt: skip
    found = Search(graph.load(str(tiny_bundle.onnx())), tiny_bundle.spec, sample, lambda stage, left: None).run()
    head = next(row for row in found.layers if row.layer.name == "head")
    assert head.smoothed
