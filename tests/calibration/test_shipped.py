"""The int8 graphs of the bundles that ship, on real clips."""

from __future__ import annotations

import pytest

from calibration.agreement import MAX_LOST_CLIPS, MIN_AGREEMENT, check_agreement
from calibration.footage import find_recordings
from engine.bundle import Bundle, shipped
from train.data.clips import data_root

FOOTAGE = {"movements": "weizmann", "fight": "surv_fight"}
CLIPS = 12


@pytest.mark.needs_data
@pytest.mark.parametrize("name", [name for name in shipped() if "int8" in Bundle.load(name).precisions])
def test_int8_loses_no_clip(name):
    bundle = Bundle.load(name)
    found = [r for r in find_recordings([str(data_root() / FOOTAGE[name])], bundle.spec.labels) if r.label]
    recordings = found[:: max(1, len(found) // CLIPS)]
    agreements, _ = check_agreement(bundle, bundle.onnx("int8").read_bytes(), recordings, lambda: None)
    assert {row.runtime for row in agreements} == {"openvino", "onnxruntime"}
    for row in agreements:
        assert row.clips == len(recordings)
        assert row.right_f32 >= 0.8 * row.clips
        assert row.share >= MIN_AGREEMENT
        assert len(row.lost) <= MAX_LOST_CLIPS
