from __future__ import annotations

from itertools import pairwise
from typing import get_args

import numpy as np
import pytest

from engine.bundle import Bundle
from engine.parity import LIMITS, MIN_WINDOWS, Limits, ParityError, check_parity
from engine.runtime.base import Precision
from engine.runtime.openvino import OpenVINOEngine
from engine.state import StateStore


@pytest.fixture(scope="module")
def bundle(exported):
    return Bundle.load(exported)


@pytest.fixture
def engine(bundle):
    engine = OpenVINOEngine(bundle, precision="fp32")
    yield engine
    engine.close()


def test_the_right_engine_passes_with_room(engine, bundle):
    parity = check_parity(engine, bundle.reference())
    assert parity.windows >= 10
    assert parity.used < 0.2
    assert parity.top1 == 1
    assert parity.scores < 1e-4
    assert "top-1 agreement 100.0%" in str(parity)


def test_every_precision_has_limits():
    assert LIMITS.keys() == set(get_args(Precision))
    for tighter, looser in pairwise(LIMITS[precision] for precision in ("fp32", "fp16", "bf16", "int8")):
        assert 0 < looser.top1 < tighter.top1 < 1
        assert all(0 < small < large for small, large in zip(tighter[:-1], looser[:-1], strict=True))
    assert MIN_WINDOWS >= 12


@pytest.mark.parametrize("error", [0.1, np.nan])
@pytest.mark.parametrize(
    ("name", "place"), [("logits", (7, 2, 1)), ("state_0_h", (3, 5, 1, 2)), ("state_0_c", (11, 0, 0, 0))]
)
def test_one_wrong_value_is_found_and_named(engine, bundle, name, place, error):
    """One value of the reference is moved: the same as an engine that is wrong in this place."""
    reference = bundle.reference()
    tensors = {"logits": reference.logits, "state_0_h": reference.states[0], "state_0_c": reference.states[1]}
    values = tensors[name]
    values[place] += error * max(1.0, np.abs(values).max())
    at = ", ".join(map(str, place[1:]))
    with pytest.raises(ParityError, match=rf"{name}\[{at}\] of reference window {place[0]} .* will not be served"):
        check_parity(engine, reference)
    fresh = StateStore(bundle.spec)
    assert engine.open_slot() == fresh.open(), "the check gave its slot back"


def median_channel(state):
    """Of [W, C, h, w]: neither loud nor quiet."""
    loudness = np.sqrt(np.mean(state**2, axis=(0, 2, 3)))
    return int(np.argsort(loudness)[len(loudness) // 2])


@pytest.mark.parametrize("tensor", [0, 1])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda state, at: np.zeros_like(state[:, at]),
        lambda state, at: -state[:, at],
        lambda state, at: state[:, at - 1],
    ],
    ids=["zero", "negated", "another's"],
)
def test_a_wrong_channel_is_found_within_the_limits_of_int8(engine, bundle, monkeypatch, tensor, spoil):
    monkeypatch.setitem(LIMITS, "fp32", LIMITS["int8"])
    reference = bundle.reference()
    state = reference.states[tensor]
    channel = median_channel(state)
    state[:, channel] = spoil(state, channel)
    name = bundle.spec.state_tensors[tensor].name
    with pytest.raises(ParityError, match=rf"channel {channel} of {name} is off by .* \(limit 0\.15\); it will not"):
        check_parity(engine, reference)


def test_int8_may_be_late_in_single_cells(engine, bundle, monkeypatch):
    """One of some hundred cells has another sign for a window: no reason to refuse int8, but anything else."""
    reference = bundle.reference()
    state = reference.states[0]
    state[7, median_channel(state), 1, 1] *= -1
    with pytest.raises(ParityError):
        check_parity(engine, reference)
    monkeypatch.setitem(LIMITS, "fp32", LIMITS["int8"])
    assert 0.01 < check_parity(engine, reference).states_rms < LIMITS["int8"].states_rms


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_states_that_are_not_finite_are_refused_in_int8(engine, bundle, monkeypatch, value):
    monkeypatch.setitem(LIMITS, "fp32", LIMITS["int8"])
    state = engine.state

    def spoiled(slot):
        states = state(slot)
        states[1][0, 0, 0] = value
        return states

    monkeypatch.setattr(engine, "state", spoiled)
    with pytest.raises(ParityError, match=r"state_0_c\[0, 0, 0\] of reference window 0"):
        check_parity(engine, bundle.reference())


@pytest.fixture
def loose(monkeypatch):
    """Nothing but the scores and labels is looked at."""

    def limits(**changes):
        free = Limits(logits=1e9, states=1e9, states_rms=1e9, scores=1, top1=0)
        monkeypatch.setitem(LIMITS, "fp32", free._replace(**changes))

    return limits


def test_scores_and_labels_have_limits_of_their_own(engine, bundle, loose):
    reference = bundle.reference()
    first, second = np.argsort(reference.logits[5, 2])[[-1, -2]]
    reference.logits[5, 2, [first, second]] = reference.logits[5, 2, [second, first]]  # the label is another
    loose(scores=1e-3)
    label = rf"the score of '{bundle.spec.labels[first]}'|the score of '{bundle.spec.labels[second]}'"
    with pytest.raises(ParityError, match=rf"({label}) in step 2 of reference window 5 is off by"):
        check_parity(engine, reference)
    loose(top1=0.99)
    with pytest.raises(ParityError, match=r"best label .* in 97\.9% of steps, .* step 2 of reference window 5"):
        check_parity(engine, reference)
    loose()
    assert check_parity(engine, reference).top1 == 47 / 48


def test_an_engine_that_forgets_does_not_pass(engine, bundle, monkeypatch):
    """State not carried from window to window: each window alone is right, and the second is found wrong."""
    monkeypatch.setattr(engine, "infer", forgetful(engine))
    with pytest.raises(ParityError, match="reference window 1"):
        check_parity(engine, bundle.reference())


def forgetful(engine):
    infer = engine.infer

    def run(slots, picture, flow):
        for slot in slots:
            engine.reset_slot(slot)
        return infer(slots, picture, flow)

    return run
