from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.network.recognizer import Recognizer
from engine.spec import ModelSpec
from stream.demo.score import Span
from stream.events import Rules
from train.data.clips import ClipRef, find_clips
from train.data.join import join_clips
from train.evaluate import ClipReport, ClipResult, evaluate_clips
from train.online import Trace, delays_s, events_in, trace
from train.torch_engine import TorchEngine


@pytest.fixture(scope="module")
def engine(spec: ModelSpec) -> TorchEngine:
    torch.manual_seed(0)
    return TorchEngine(Recognizer(spec).eval())


def test_every_clip_is_counted_or_listed(engine: TorchEngine, clips: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    refs = [*find_clips(clips, ("walk", "wave1")), ClipRef(broken, "walk", "x")]
    report = evaluate_clips(engine, refs)
    assert len(report.results) == 4
    assert [ref.path for ref, _ in report.unreadable] == [broken]
    assert report.confusion().sum() == 4
    again = evaluate_clips(engine, refs[:1])
    assert np.array_equal(again.results[0].scores, report.results[0].scores)


def test_numbers_of_a_report() -> None:
    def result(label: str, *scores: float) -> ClipResult:
        return ClipResult(ClipRef(Path("x"), label, "g"), np.array(scores, np.float32))

    report = ClipReport(
        ("walk", "run", "none"),
        (
            result("walk", 0.8, 0.1, 0.1),
            result("walk", 0.7, 0.2, 0.1),
            result("walk", 0.6, 0.2, 0.2),
            result("run", 0.5, 0.4, 0.1),
        ),
        (),
    )
    assert report.top1 == 0.75
    assert report.top5 == 1.0
    assert report.mean_class == 0.5
    assert report.confusion().tolist() == [[3, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_a_joined_file_says_what_happens_when(clips: Path, tmp_path: Path, engine: TorchEngine) -> None:
    refs = [ref for ref in find_clips(clips, ("walk", "wave1")) if ref.group == "anna"]
    truth = join_clips(refs, tmp_path / "joined.mp4", action_s=2.0, still_s=1.0)
    assert [(s.label, s.start_ns / 1e9, (s.end_ns or 0) / 1e9) for s in truth] == [
        ("walk", 0, 2),
        ("none", 2, 3),
        ("wave1", 3, 5),
        ("none", 5, 6),
    ]
    traced = trace(engine, tmp_path / "joined.mp4")
    assert traced.logits.shape == (18, engine.spec.steps, 3)
    assert traced.pts_ns[-1, -1] == pytest.approx(5.96e9, abs=0.1e9)


def test_events_and_their_delay_come_from_the_scores(spec: ModelSpec) -> None:
    ticks = np.round((np.arange(24) / 12 + 0.5) * 1e9).astype(np.int64).reshape(6, 4)
    logits = np.zeros((6, 2, 3), np.float32)
    logits[..., 2] = 5.0
    logits[2:5, :, 1] = 10.0
    found = events_in(Trace(spec, logits, ticks, np.zeros(6, np.int64)), {"wave1": Rules(min_duration_s=0.3)})
    assert [(event.span.label, event.span.start_ns) for event in found] == [("wave1", ticks[2, 0])]
    assert found[0].span.end_ns == pytest.approx(ticks[5, 0], abs=2)
    truth = [Span("walk", 0, 10**9), Span("wave1", int(ticks[2, 0]), int(ticks[5, 0]))]
    assert delays_s(truth, found) == [pytest.approx((ticks[2, -1] - ticks[2, 0]) / 1e9)]
