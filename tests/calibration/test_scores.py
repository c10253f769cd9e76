from __future__ import annotations

import numpy as np
import pytest

from calibration.footage import Recording
from calibration.scores import calibrate_scores, fit_temperature, reliability
from calibration.trace import Trace
from engine.softmax import softmax
from tests.formula_bundle import SPEC

OVERCONFIDENT = 2.5


def drawn(rng: np.random.Generator, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the truth's distribution, times a number; and the truth."""
    honest = rng.normal(0, 1.5, (steps, len(SPEC.labels))).astype(np.float32)
    truth = np.array([rng.choice(len(SPEC.labels), p=p / p.sum()) for p in softmax(honest).astype(np.float64)])
    return honest * OVERCONFIDENT, truth


@pytest.fixture(scope="module")
def clips() -> list[Trace]:
    """Clips of three groups, whose steps each tell truly how likely their label is; then made overconfident."""
    rng = np.random.default_rng(0)
    logits, truth = drawn(rng, 3000)
    traces = []
    for number, label in enumerate(SPEC.labels):
        rows = logits[truth == number]
        rows = rows[: len(rows) // 9 * 9].reshape(3, -1, 3, len(SPEC.labels))
        for group, part in zip(("ann", "bob", "cid"), rows, strict=True):
            pts_ns = np.arange(part.shape[0] * SPEC.ticks).reshape(-1, SPEC.ticks) * 10**8
            recording = Recording(f"{group}.mp4", label, group, 12)
            traces.append(Trace(recording, SPEC, part, pts_ns, np.zeros(len(part), np.int64)))
    return traces


def test_the_temperature_that_was_put_in_is_found():
    logits, truth = drawn(np.random.default_rng(1), 6000)
    assert fit_temperature(logits, truth) == pytest.approx(OVERCONFIDENT, rel=0.08)


def test_the_error_is_that_of_the_bins():
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]], np.float32)
    found = reliability(scores, np.array([0, 1, 1, 1]))
    assert found.ece == pytest.approx(0.5 * abs(0.9 - 0.5) + 0.5 * abs(0.6 - 1.0), abs=1e-6)
    assert found.count.sum() == 4


def test_scores_are_calibrated_on_other_groups_than_they_are_measured_on(clips):
    found = calibrate_scores(clips, 1.0)
    assert found.temperature == pytest.approx(OVERCONFIDENT, rel=0.15)
    assert found.before.ece > 0.1
    assert found.after.ece < 0.05
    assert found.helps
    assert (found.clips, found.groups) == (9, 3)
    assert not calibrate_scores(clips, found.temperature).helps or found.after.nll < found.before.nll


def test_one_group_is_not_enough(clips):
    with pytest.raises(ValueError, match=r"all clips are of one group \(ann\)"):
        calibrate_scores([clip for clip in clips if clip.recording.camera == "ann"], 1.0)
