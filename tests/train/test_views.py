from __future__ import annotations

from pathlib import Path

import pytest

from engine.bundle import Bundle
from engine.runtime.openvino import OpenVINOEngine
from engine.spec import ModelSpec
from tests.formula_bundle import COUNT, OFFSET
from train.data.clips import ClipRef
from train.views import crops, evaluate_views, starts


def test_crops_have_the_networks_shape_and_reach_both_ends(spec: ModelSpec) -> None:
    """A square network: of a wide picture left, middle and right, of a high one top, middle and bottom."""
    assert [(z.x, z.y, z.width, z.height) for z in crops(spec, 120, 160)] == [
        pytest.approx(place) for place in ((0, 0, 0.75, 1), (0.125, 0, 0.75, 1), (0.25, 0, 0.75, 1))
    ]
    assert [(z.x, z.y, z.width, z.height) for z in crops(spec, 160, 120)] == [
        pytest.approx(place) for place in ((0, 0, 1, 0.75), (0, 0.125, 1, 0.75), (0, 0.25, 1, 0.75))
    ]


def test_views_are_spread_evenly_and_begin_on_a_token(spec: ModelSpec) -> None:
    """Windows of 4 ticks, tokens of 2."""
    assert starts(4, spec, 3) == [0, 0, 0]
    assert starts(24, spec, 1) == [10]
    assert starts(24, spec, 4) == [2, 6, 12, 18]
    assert all(start % 2 == 0 and start + 4 <= 17 for start in starts(17, spec, 10))


def test_every_view_begins_with_a_zero_state(motion_bundle: Bundle, walking: Path, tmp_path: Path) -> None:
    """The formula counts the windows that its state has seen: always one."""
    engine = OpenVINOEngine(motion_bundle)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    refs = [ClipRef(walking, "move", "a"), ClipRef(tmp_path / "broken.mp4", "move", "b")]
    seen: list[int] = []
    infer = engine.infer

    def counted(*args):  # type: ignore[no-untyped-def]
        found = infer(*args)
        seen.extend(round(float(v)) + OFFSET for v in found.logits[:, 0, COUNT])
        return found

    engine.infer = counted  # type: ignore[method-assign]
    report = evaluate_views(engine, refs, 4)
    assert seen == [1] * 12
    assert report.top1 == 1.0
    assert [ref.path.name for ref, _ in report.unreadable] == ["broken.mp4"]
