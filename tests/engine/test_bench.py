from __future__ import annotations

import json
import sys

import pytest

from engine import bench as benches
from engine.bench import Case
from engine.bench_command import bench
from engine.bundle import Bundle
from engine.network.cost import total
from engine.runtime.base import EngineError
from engine.runtime.openvino import cpu_precision

KEYS = {"backend", "precision", "batch", "ms_per_window", "windows_per_s", "peak_share", "peak_gops"}


def lines_of(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def can_bf16():
    try:
        return cpu_precision("bf16") == "bf16"
    except EngineError:
        return False


def test_a_line_for_each_case(exported, capsys):
    pytest.importorskip("torch")
    assert bench([str(exported)], "1,3", threads=1, seconds=0, torch=False, as_json=True) == 0
    lines = lines_of(capsys)
    assert all(line.keys() >= KEYS for line in lines)
    cases = {(line["backend"], line["precision"], line["batch"]): line for line in lines}
    operations = 2 * total(Bundle.load(exported).spec).macs
    for batch in (1, 3):
        case = cases["openvino", "fp32", batch]
        assert case["ms_per_window"] * case["windows_per_s"] == pytest.approx(1000, rel=0.05)
        assert case["peak_gops"] == cases["openvino", "fp32", 1]["peak_gops"], "one peak for all that it is the peak of"
        expected = operations * case["windows_per_s"] / (case["peak_gops"] * 1e9)
        assert case["peak_share"] == pytest.approx(expected, rel=0.05, abs=1e-4)
        assert case["device"].endswith("1 thread")
    for line in lines:
        assert line["reason"] or line["windows_per_s"], "measured, or why not"


def test_torch_stands_beside_eager_and_compiled(exported, capsys, monkeypatch):
    """In the same precisions as the CPU's engine has, or with the reason why not. Nothing is compiled here: minutes."""
    torch = pytest.importorskip("torch")
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: asked.append(options) or model)
    assert bench([str(exported)], "2", threads=1, seconds=0, torch=True, as_json=True) == 0
    cases = {(line["backend"], line["precision"]): line for line in lines_of(capsys)}
    precisions = ("fp32", "bf16") if can_bf16() else ("fp32",)
    for precision in precisions:
        eager, compiled = cases["torch eager", precision], cases["torch compiled", precision]
        assert eager["windows_per_s"] > 0
        assert compiled["windows_per_s"] > 0
        assert eager["peak_gops"] == cases["openvino", precision]["peak_gops"]
    assert asked == [{"dynamic": False, "mode": None}] * len(precisions)
    if not can_bf16():
        assert "does not compute in bf16" in cases["torch eager", "bf16"]["reason"]


def test_what_torch_cannot_compile_is_told(exported, capsys, monkeypatch):
    torch = pytest.importorskip("torch")

    def refuse(*_, **__):
        raise RuntimeError("there is no C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", refuse)
    assert bench([str(exported)], "1", threads=1, seconds=0, torch=True, as_json=True) == 0
    compiled = [line for line in lines_of(capsys) if line["backend"] == "torch compiled"]
    assert {line["reason"] for line in compiled} == {"there is no C++ compiler"}


def test_a_cpu_without_bf16_says_so(exported, capsys, monkeypatch):
    monkeypatch.setattr("engine.runtime.openvino._has_bf16", lambda core: False)
    assert bench([str(exported)], "1,3", threads=1, seconds=0, torch=False, as_json=True) == 0
    (line,) = [line for line in lines_of(capsys) if line["precision"] == "bf16"]
    assert line["reason"].endswith("does not compute in bf16: use fp32, or auto")
    assert line["windows_per_s"] is None


CASES = [
    Case("small", "openvino", "fp32", 1, 12.5, 80.0, 0.5, 134.2, "a CPU, 2 threads"),
    Case("small", "openvino", "bf16", 1, reason="a CPU does not compute in bf16"),
    Case("small", "tensorrt", "fp16", 16, 0.25, 4000.0, 0.612, 700_000.0, "a GPU"),
    Case("small", "torch eager", "fp16", 16, 1.0, 1000.0, 0.15, 700_000.0, "a GPU, channels last"),
]


def test_the_table_tells_what_was_measured_on_what_and_what_was_not(exported, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("engine.bench_command.measure", lambda *_: iter(CASES))
    assert bench([str(exported)], "1", threads=1, seconds=0, torch=True, as_json=False) == 0
    out = capsys.readouterr().out
    assert out.startswith("small: 8 ticks of 24x40, 0.0")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert "openvino fp32 1 12.50 80.0 50%" in rows
    assert "torch eager fp16 16 1.00 1000.0 15%" in rows
    assert "on a CPU, 2 threads: openvino fp32" in rows
    assert "on a GPU, channels last: torch eager fp16" in rows
    assert "the peak of this CPU, one large matrix product, in G operations/s: fp32 134" in rows
    assert "the peak of this GPU, one large matrix product, in G operations/s: fp16 700,000" in rows
    assert "not measured: openvino bf16: a CPU does not compute in bf16" in rows


def test_without_torch_there_is_no_peak_and_that_is_said(exported, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "engine.bench_torch", raising=False)
    assert bench([str(exported)], "1", threads=1, seconds=0, torch=True, as_json=False) == 0
    out = capsys.readouterr().out
    assert "not known" in out
    assert "the peak of this CPU is not known: torch, which measures it, is not installed" in out
    assert "not measured: torch eager fp32: torch is not installed" in out


def test_each_case_is_announced_before_it_runs(exported):
    begun: list[Case] = []
    bundle = Bundle.load(exported)
    done = [(len(begun), case) for case in benches.measure(bundle, [1], 1, 0, torch_too=False, begin=begun.append)]
    assert [case.precision for case in begun[:2]] == ["fp32", "bf16"]
    assert done[0][0] == 1


def test_wrong_usage(exported):
    assert bench([str(exported)], "1,x", threads=1, seconds=0, torch=False, as_json=True) == 2
    assert bench(["nowhere"], "1", threads=1, seconds=0, torch=False, as_json=True) == 1
