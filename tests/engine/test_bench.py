from __future__ import annotations

import json

import pytest

from engine.bench_command import bench

KEYS = {"backend", "precision", "batch", "ms_per_window", "windows_per_s", "peak_share"}


def test_a_line_for_each_case(exported, capsys):
    pytest.importorskip("torch")
    assert bench([str(exported)], "1,3", threads=1, seconds=0, torch=False, as_json=True) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(line.keys() >= KEYS for line in lines)
    cases = {(line["backend"], line["precision"], line["batch"]): line for line in lines}
    for batch in (1, 3):
        case = cases["openvino", "fp32", batch]
        assert case["ms_per_window"] * case["windows_per_s"] == pytest.approx(1000, rel=0.05)
        assert case["peak_share"] > 0
    for line in lines:
        assert line["reason"] or line["windows_per_s"], "measured, or why not"


def test_wrong_usage(exported):
    assert bench([str(exported)], "1,x", threads=1, seconds=0, torch=False, as_json=True) == 2
    assert bench(["nowhere"], "1", threads=1, seconds=0, torch=False, as_json=True) == 1
