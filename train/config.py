"""What a training run is told: one YAML file, checked, unknown keys refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from engine.spec import ModelSpec, Strict


class TrainError(Exception):
    """A mistake in a training run's input, told in one line; never a bug of ours."""


class DataConfig(Strict):
    """Where clips come from. A relative path is taken from SWINSTREAM_DATA, or ../shared/data beside the checkout."""

    root: str = Field(description="folder with one folder of clips per label")
    exclude_groups: tuple[str, ...] = Field((), description="groups (subjects, cameras) never trained on")
    validate_groups: tuple[str, ...] = Field((), description="groups held out to measure on while training")
    quiet: tuple[str, ...] = Field((), description="CSV files of timed segments whose quiet parts become `none`")
    quiet_clips: tuple[str, ...] = Field((), description="videos in which nobody does any of the actions: `none`")


class MixConfig(Strict):
    """Shares of each source of segments; whatever is left is real clips of the actions."""

    drawn: float = Field(0.5, ge=0, le=1, description="share of sequences that the drawn actor supplies")
    none: float = Field(0.25, ge=0, lt=1, description="share of segments of a sequence in which nothing happens")


class PhaseConfig(Strict):
    """A stretch of training with one mix and one length of sequences."""

    steps: int = Field(gt=0)
    batch: int = Field(16, gt=0, description="sequences per step")
    windows: int = Field(1, gt=0, description="consecutive windows per sequence, state carried between them")
    mix: MixConfig = MixConfig()


class OptimConfig(Strict):
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_steps: int = Field(100, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    aux_weight: float = Field(0.5, ge=0, description="weight of the stateless head's loss (training only)")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights that are saved")
    drop_path: float = Field(0.1, ge=0, lt=1)
    dropout: float = Field(0.2, ge=0, lt=1)


class TrainConfig(Strict):
    """One run: which network, on what, how long."""

    model: ModelSpec
    data: DataConfig
    phases: tuple[PhaseConfig, ...] = Field(min_length=1)
    optim: OptimConfig = OptimConfig()
    skip_window: float = Field(0.05, ge=0, lt=1, description="chance that a window is skipped, as under load")
    start: str | None = Field(None, description="a run's checkpoint whose weights training starts from")
    seed: int = 0
    checkpoint_every: int = Field(100, gt=0, description="steps")
    workers: int = Field(1, ge=0, description="processes that prepare data")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    thresholds: dict[str, Any] = Field({}, description="the bundle's thresholds.yaml: temperature, defaults, labels")
    notes: str = Field("", description="added to the bundle's card: measured accuracy, limits")

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        both = set(self.data.exclude_groups) & set(self.data.validate_groups)
        if both:
            raise ValueError(f"groups {sorted(both)} are both excluded and validated on")
        return self

    @property
    def fingerprint(self) -> str:
        """Of everything that changes the weights: a checkpoint of another fingerprint can't go on."""
        return hashlib.sha256(self.model_dump_json(exclude={"thresholds", "notes", "workers"}).encode()).hexdigest()

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def phase_at(self, step: int) -> PhaseConfig:
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        raise IndexError(f"step {step} is after the last phase")


def load_train_config(path: Path) -> TrainConfig:
    """Read and check a training configuration; TrainError names file, key and what was expected."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TrainError(f"{path}: not UTF-8") from error
    except yaml.YAMLError as error:
        raise TrainError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return TrainConfig.model_validate(raw)
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise TrainError("\n".join(lines)) from error
