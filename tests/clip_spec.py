"""What the tests of clips give a network to eat: small pictures, and every modality."""

from __future__ import annotations

from typing import Any

from engine.spec import FlowSpec, Modality, ModelSpec

TICKS, RATE_HZ = 8, 10


def clip_spec(modality: Modality, height: int, width: int, **flow: Any) -> ModelSpec:
    return ModelSpec(
        name="m",
        version="0",
        labels=("walk", "none"),
        modality=modality,
        ticks=TICKS,
        rate_hz=RATE_HZ,
        height=height,
        width=width,
        flow=FlowSpec(**flow),
    )
