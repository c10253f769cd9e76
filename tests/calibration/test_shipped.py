"""The int8 graphs of the bundles that ship: served, and on real clips."""

from __future__ import annotations

import pytest

from calibration.agreement import MAX_LOST_CLIPS, MIN_AGREEMENT, check_agreement
from calibration.footage import find_recordings
from engine.bundle import Bundle, shipped
from engine.runtime.choose import choose_engine
from train.data.clips import data_root

FOOTAGE = {"movements": "weizmann", "fight": "surv_fight"}
RIGHT = {"movements": 0.8, "fight": 0.65}  # of surv_fight only the fights are labelled, and of those it misses more
CLIPS = 12


WITH_INT8 = [name for name in shipped() if "int8" in Bundle.load(name).precisions]


@pytest.mark.parametrize("name", WITH_INT8)
def test_the_engine_accepts_it(name):
    engine = choose_engine(Bundle.load(name), "openvino", "int8")
    assert engine.info.precision == "int8"
    engine.close()


@pytest.mark.parametrize("name", shipped())
def test_a_bundle_is_small(name):
    assert sum(file.stat().st_size for file in Bundle.load(name).path.iterdir()) <= 20e6


@pytest.mark.needs_data
@pytest.mark.parametrize("name", WITH_INT8)
def test_int8_loses_no_clip(name):
    bundle = Bundle.load(name)
    found = [r for r in find_recordings([str(data_root() / FOOTAGE[name])], bundle.spec.labels) if r.label]
    recordings = found[:: max(1, len(found) // CLIPS)]
    agreements, _ = check_agreement(bundle, bundle.onnx("int8").read_bytes(), recordings, lambda: None)
    assert {row.runtime for row in agreements} == {"openvino", "onnxruntime"}
    for row in agreements:
        assert row.clips == len(recordings)
        assert row.right_f32 >= RIGHT[name] * row.clips
        assert row.share >= MIN_AGREEMENT
        assert len(row.lost) <= MAX_LOST_CLIPS
