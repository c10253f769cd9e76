from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.state import StateStore


def filled(spec, n, value):
    return [np.full((n, *t.shape), value, np.float32) for t in spec.state_tensors]


def test_a_slot_is_zero_when_it_opens_and_after_reset(small):
    spec = small()
    store = StateStore(spec, capacity=1)
    slot = store.open()
    store.scatter([slot], filled(spec, 1, 7))
    store.close(slot)
    again = store.open()
    assert again == slot  # the only one: what was in it must be gone
    assert not any(a.any() for a in store.read(again))
    store.scatter([again], filled(spec, 1, 7))
    store.reset(again)
    assert not any(a.any() for a in store.read(again))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_zeroed_and_said(small, value):
    spec = small()
    store = StateStore(spec)
    slots = [store.open() for _ in range(3)]
    new = filled(spec, 3, 2)
    new[1][1, 0, 0, 0] = value
    assert store.scatter(slots, new).tolist() == [True, False, True]
    assert [[float(a.max()) for a in store.read(s)] for s in slots] == [[2, 2], [0, 0], [2, 2]]


def test_slots_that_are_not_open_or_twice_there(small):
    store = StateStore(small())
    slot = store.open()
    with pytest.raises(ValueError, match="slot 5 is not open"):
        store.reset(5)
    with pytest.raises(ValueError, match="twice"):
        store.gather([slot, slot], filled(small(), 2, 0))
    store.close(slot)
    for use in (store.reset, store.close, store.read):
        with pytest.raises(ValueError, match="not open"):
            use(slot)


OPERATIONS = st.lists(st.tuples(st.sampled_from(["open", "close", "reset", "step"]), st.integers(0, 20)), max_size=60)


@given(OPERATIONS)
@settings(max_examples=50, deadline=None)
def test_slots_never_meet(operations):
    """Whatever happens to some slots, each holds what its own history says."""
    from engine.spec import ModelSpec, NetworkSpec

    spec = ModelSpec(
        name="s", version="1", labels=("a", "none"), modality="rgb", ticks=2, rate_hz=1.0, height=8, width=8,
        network=NetworkSpec(embed_dim=4, depths=(1,), heads=(1,), memory="head"),
    )  # fmt: skip
    store, expected = StateStore(spec, capacity=2), {}
    for count, (what, which) in enumerate(operations, start=1):
        slot = sorted(expected)[which % len(expected)] if expected else None
        if what == "open":
            expected[store.open()] = 0
        elif slot is None:
            continue
        elif what == "close":
            store.close(slot)
            del expected[slot]
        elif what == "reset":
            store.reset(slot)
            expected[slot] = 0
        else:
            others = sorted(expected)[: 1 + which % len(expected)]
            states = [np.zeros((len(others), *t.shape), np.float32) for t in spec.state_tensors]
            store.gather(others, states)
            assert [states[0][i].max() for i in range(len(others))] == [expected[s] for s in others]
            store.scatter(others, filled(spec, len(others), count))
            expected |= dict.fromkeys(others, count)
        assert len(store) == len(expected)
        for s, value in expected.items():
            assert all((a == value).all() for a in store.read(s))
