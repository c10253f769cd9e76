"""From a trained network to a bundle: reference windows of the drawn actor, thresholds and a card beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.bundle import Bundle
from engine.export import export_bundle
from engine.network.recognizer import Recognizer
from train.config import TrainConfig
from train.data.sequences import SequenceMaker

REFERENCE_WINDOWS = 16
REFERENCE_SEED = 2026


def make_bundle(model: Recognizer, config: TrainConfig, path: Path) -> Bundle:
    """Write `model` as a bundle; raises what engine.export raises."""
    maker = SequenceMaker(config.model, [], [])
    rng = np.random.default_rng(REFERENCE_SEED)
    sequence = maker.drawn(rng, REFERENCE_WINDOWS * config.model.ticks, none_share=0.25)
    windows = maker.tensors(rng, sequence, skip_window=0.0)
    return export_bundle(
        model.cpu(),
        path,
        picture=windows["picture"].numpy(),
        flow=windows["flow"].numpy(),
        thresholds=config.thresholds,
        card=card(config),
    )


def card(config: TrainConfig) -> str:
    """What the model was trained on and how, in words; measured accuracy is added by hand where it was measured."""
    spec, data = config.model, config.data
    left_out = ", ".join((*data.exclude_groups, *data.validate_groups)) or "none"
    return "\n".join(
        [
            f"# {spec.name} {spec.version}",
            "",
            f"Labels: {', '.join(spec.labels)}.",
            "",
            f"Trained on the clips in `{data.root}` and on the drawn actor; groups left out: {left_out}. "
            f"Footage for `none`: {', '.join((*data.quiet, *data.quiet_clips)) or 'drawn only'}.",
            "",
            f"{spec.modality}, {spec.width}x{spec.height}, {spec.rate_hz:g} ticks a second, windows of "
            f"{spec.window_s:g} s, {spec.steps} decisions a window.",
            "",
            *([config.notes.rstrip(), ""] if config.notes else []),
        ]
    )
