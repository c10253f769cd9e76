from __future__ import annotations

import numpy as np
import pytest

from calibration.footage import find_recordings
from calibration.network import OpenVINONetwork
from calibration.observation import observe
from calibration.trace import Trace
from tests.video_file import steady, write_video


def test_states_are_carried_and_begin_anew_after_a_gap(tiny_bundle, tmp_path):
    path = write_video(tmp_path / "gap.mp4", [*steady(2, 15), *steady(2, 15, start_s=7)])
    network = OpenVINONetwork(tiny_bundle.onnx().read_bytes(), tiny_bundle.spec)
    (recording,) = find_recordings([str(path)], ())
    seen = list(observe(network, tiny_bundle.spec, recording))
    begins = [i for i, o in enumerate(seen) if i == 0 or o.epoch != seen[i - 1].epoch]
    assert len(begins) == 2
    for i, observation in enumerate(seen):
        hidden = observation.inputs[2]
        assert hidden.any() == (i not in begins)
        if i not in begins:
            np.testing.assert_array_equal(hidden, network(seen[i - 1].inputs)[1])
    trace = Trace.of(recording, tiny_bundle.spec, iter(seen))
    assert trace is not None
    assert [len(steps) for steps in trace.steps(1.0)] == [3 * begins[1], 3 * (len(seen) - begins[1])]


def test_a_live_camera_needs_an_end(tiny_bundle):
    network = OpenVINONetwork(tiny_bundle.onnx().read_bytes(), tiny_bundle.spec)
    (camera,) = find_recordings(["rtsp://192.0.2.7/stream"], ())
    with pytest.raises(ValueError, match="how many minutes"):
        next(observe(network, tiny_bundle.spec, camera))
