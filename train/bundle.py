"""From a trained network to a bundle: reference windows of the drawn actor, thresholds and a card beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from engine.bundle import Bundle
from engine.export import export_bundle
from engine.network.recognizer import Recognizer
from engine.parity import MIN_WINDOWS
from engine.spec import NONE_LABEL, ModelSpec
from stream.demo.motions import ACTIONS
from train.config import TrainConfig
from train.data.sequences import SequenceMaker

REFERENCE_WINDOWS = MIN_WINDOWS
REFERENCE_SEED = 2026
FLOW_STEPS = 16  # in a pixel, to which the reference's flow is rounded: it deflates to a quarter, and serves as well


def make_bundle(model: Recognizer, config: TrainConfig, path: Path) -> Bundle:
    """Write `model` as a bundle; raises what engine.export raises."""
    windows = reference_windows(config.model)
    return export_bundle(
        model.cpu(),
        path,
        picture=windows["picture"].numpy(),
        flow=(windows["flow"] * FLOW_STEPS).round().div(FLOW_STEPS).numpy(),
        thresholds=config.thresholds,
        card=card(config),
    )


def reference_windows(spec: ModelSpec) -> dict[str, Tensor]:
    """REFERENCE_WINDOWS consecutive windows of the drawn actor: picture uint8, flow float16, see ModelSpec.inputs."""
    drawable = spec.model_copy(update={"labels": (*ACTIONS, NONE_LABEL)})  # the actor knows no other labels
    rng = np.random.default_rng(REFERENCE_SEED)
    maker = SequenceMaker(drawable, [], [])
    return maker.tensors(rng, maker.drawn(rng, REFERENCE_WINDOWS * spec.ticks, none_share=0.25), skip_window=0.0)


def card(config: TrainConfig) -> str:
    """What the model was trained on and how, in words; measured accuracy is added by hand where it was measured."""
    spec, data = config.model, config.data
    taught = [] if data.root is None else [f"the clips in `{data.root}`"]
    if data.root is None or any(phase.mix.drawn for phase in config.phases):
        taught.append("the drawn actor")
    left_out = ", ".join((*data.exclude_groups, *data.validate_groups)) or "none"
    return "\n".join(
        [
            f"# {spec.name} {spec.version}",
            "",
            f"Labels: {', '.join(spec.labels)}.",
            "",
            f"Trained on {' and on '.join(taught)}; groups left out: {left_out}. "
            f"Footage for `none`: {', '.join((*data.quiet, *data.quiet_clips)) or 'drawn only'}.",
            "",
            f"{spec.modality}, {spec.width}x{spec.height}, {spec.rate_hz:g} ticks a second, windows of "
            f"{spec.window_s:g} s, {spec.steps} decisions a window.",
            "",
            *(["Trained without carried state, an ablation: not for streams.", ""] if config.stateless else []),
            *([f"Training started from `{config.start}`.", ""] if config.start else []),
            *([config.notes.rstrip(), ""] if config.notes else []),
        ]
    )
