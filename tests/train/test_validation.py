from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.network.recognizer import Recognizer
from engine.spec import ModelSpec
from train.config import TrainConfig
from train.data.clips import ClipRef, find_clips
from train.distributed import Ranks
from train.evaluate import ClipReport, ClipResult
from train.validation import StatelessEngine, Validation, clip_loss


def report(*true_scores: float) -> ClipReport:
    """A clip of `walk` for each score of the true label."""
    ref = ClipRef(Path("x"), "walk", "g")
    results = tuple(ClipResult(ref, np.array([s, 1 - s, 0], np.float32)) for s in true_scores)
    return ClipReport(("walk", "wave1", "none"), results, ())


def test_the_best_has_most_clips_right_and_then_the_lowest_loss(config: TrainConfig) -> None:
    validation = Validation(config, [], Ranks())
    assert validation.is_better(report(0.6, 0.1))
    assert not validation.is_better(report(0.6, 0.05))
    assert validation.is_better(report(0.7, 0.1))
    assert validation.is_better(report(0.51, 0.51))
    assert clip_loss(report(0.5, 0.25)) == pytest.approx(np.log(8) / 2)


def test_training_stops_when_patience_is_used_up_also_over_a_restart(settings: dict[str, Any]) -> None:
    config = TrainConfig.model_validate(settings | {"validation": {"patience": 2}})
    first = Validation(config, [], Ranks())
    for scores, over in (((0.9,), False), ((0.8,), False)):
        first.is_better(report(*scores))
        assert first.is_over == over
    second = Validation(config, [], Ranks())
    second.recall(first.memory)
    assert not second.is_better(report(0.85))
    assert second.is_over


def test_it_is_due_at_its_interval_and_at_the_end(settings: dict[str, Any]) -> None:
    config = TrainConfig.model_validate(settings | {"validation": {"every": 4}})
    validation = Validation(config, [ClipRef(Path("x"), "walk", "g")], Ranks())
    assert [step for step in range(1, 7) if validation.is_due(step)] == [4, 6]
    assert not Validation(config, [], Ranks()).is_due(4)


def test_a_stateless_network_is_measured_without_state(spec: ModelSpec, clips: Path, config: TrainConfig) -> None:
    torch.manual_seed(0)
    model = Recognizer(spec).eval()
    torch.nn.init.normal_(model.memory_head.weight)  # type: ignore[union-attr]
    refs = find_clips(clips, ("walk", "wave1"))
    kept, lost = (
        Validation(config.model_copy(update={"stateless": stateless}), refs, Ranks()).measure(model)
        for stateless in (False, True)
    )
    assert len(kept.results) == len(lost.results) == 4
    assert not np.allclose(kept.results[0].scores, lost.results[0].scores)

    engine = StatelessEngine(model)
    slot = engine.open_slot()
    picture = np.random.default_rng(0).integers(0, 256, (1, 2, 32, 32, 3), np.uint8)
    flow = np.zeros((1, 2, 2, 32, 32), np.float16)
    one, other = (engine.infer([slot], picture, flow).logits for _ in range(2))
    assert np.array_equal(one, other)
