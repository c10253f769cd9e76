"""What a training run is told: one YAML file, checked, unknown keys refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from engine.spec import ModelSpec, Strict
from train.data.config import DataConfig, MixConfig

# Settings that leave the weights of a step as they are: a run may go on with others.
NO_IDENTITY: dict[str, Any] = {
    "validation": True,
    "checkpoint_every": True,
    "workers": True,
    "device": True,
    "threads": True,
    "thresholds": True,
    "notes": True,
    "data": {"cache"},
    "folds": True,
}


class TrainError(Exception):
    """A mistake in a training run's input, told in one line; never a bug of ours."""


class PhaseConfig(Strict):
    """A stretch of training with one mix and one length of sequences."""

    steps: int = Field(gt=0)
    batch: int = Field(16, gt=0, description="sequences per step, of all processes together")
    windows: int = Field(1, gt=0, description="consecutive windows of a step; gradients go through their state")
    carry_steps: int = Field(
        1,
        gt=0,
        description="steps that share one sequence, each its next `windows`: no gradients between them",
    )
    mix: MixConfig = MixConfig()

    @property
    def sequence_windows(self) -> int:
        """Windows of a whole sequence: what `carry_steps` steps see of it."""
        return self.windows * self.carry_steps


class OptimConfig(Strict):
    """AdamW, its rate over time, and what keeps the network from learning the clips by heart."""

    lr: float = Field(1e-3, gt=0, description="peak learning rate; warm-up to it is linear, the way down half a cosine")
    backbone_lr: float = Field(1.0, gt=0, description="factor on lr for stem and stages; the paper takes 0.1")
    weight_decay: float = Field(0.05, ge=0, description="none on norms, biases and position-bias tables")
    warmup_steps: int = Field(100, ge=0)
    grad_clip: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
    accumulate: int = Field(1, gt=0, description="parts that a step's batch is computed in, to fit into memory")
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    aux_weight: float = Field(0.5, ge=0, description="weight of the stateless head's loss (training only)")
    mixup: float = Field(0.0, ge=0, description="alpha of the Beta distribution that sequences are mixed by; 0: never")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights that are saved")
    drop_path: float = Field(0.1, ge=0, lt=1)
    dropout: float = Field(0.2, ge=0, lt=1)


class ValidationConfig(Strict):
    """Measuring the averaged weights on the clips of `data.validate_groups` while training goes on."""

    every: int = Field(500, gt=0, description="steps from one validation to the next; the last step always has one")
    patience: int | None = Field(None, gt=0, description="stop after so many validations without a better one")
    keep: Literal["last", "best"] = Field("last", description="which validation's weights become the bundle")


class ProbeConfig(Strict):
    """The regression that fits the classifier before the first step."""

    strength: float | None = Field(
        None, gt=0, description="C, inverse of its regularisation; none: chosen by cross-validation over whole groups"
    )
    sizes: tuple[tuple[int, int], ...] = Field(
        (), description="[height, width] of pictures that it sees beside the model's own: people of other sizes"
    )
    quiet_weight: float = Field(
        0.3, gt=0, description="how much a clip of data.quiet or data.quiet_clips counts beside one of the data's own"
    )
    moving_weight: float = Field(
        0.0,
        ge=0,
        description="how much a clip of none counts once more, seen by a moving camera; for cameras that stand",
    )


class FoldsConfig(Strict):
    """Cross-validation: which groups are left out, fold by fold; named before anything is measured."""

    leave_out: tuple[tuple[str, ...], ...] = Field((), description="groups left out together, a list per fold")
    count: int = Field(0, ge=0, description="instead of leave_out: so many folds of whole groups, labels in proportion")
    only: tuple[int, ...] = Field((), description="with count: run only these folds, counted from 0; default all")

    @model_validator(mode="after")
    def _consistent(self) -> FoldsConfig:
        if bool(self.leave_out) == bool(self.count):
            raise ValueError("give either leave_out or count")
        if self.count == 1 or any(not 0 <= fold < self.count for fold in self.only):
            raise ValueError("count must be at least 2, and only must name folds from 0 to count - 1")
        return self


class TrainConfig(Strict):
    """One run: which network, on what, how long."""

    model: ModelSpec
    data: DataConfig
    phases: tuple[PhaseConfig, ...] = Field(min_length=1)
    optim: OptimConfig = OptimConfig()
    validation: ValidationConfig = ValidationConfig()
    stateless: bool = Field(False, description="ablation: the memory's state is zeroed before every window")
    skip_window: float = Field(0.05, ge=0, lt=1, description="chance that a window is skipped, as under load")
    start: str | None = Field(
        None,
        description="weights that training starts from: a checkpoint, a bundle or a file; another configuration is "
        "trained first",
    )
    probe: ProbeConfig | None = Field(
        None, description="with start: the classifier is first fitted to the clips, by a regression"
    )
    folds: FoldsConfig | None = Field(None, description="what `train --folds` leaves out")
    seed: int = 0
    checkpoint_every: int = Field(100, gt=0, description="steps")
    workers: int = Field(1, ge=0, description="processes that prepare data")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="of products and convolutions; auto: bf16 where the GPU or CPU computes it itself, else fp32",
    )
    threads: int | None = Field(None, gt=0, description="CPU threads that torch computes with; none: torch's choice")
    thresholds: dict[str, Any] = Field({}, description="the bundle's thresholds.yaml: temperature, defaults, labels")
    notes: str = Field("", description="added to the bundle's card: measured accuracy, limits")

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        both = set(self.data.exclude_groups) & set(self.data.validate_groups)
        if both:
            raise ValueError(f"groups {sorted(both)} are both excluded and validated on")
        if self.probe is not None and self.start is None:
            raise ValueError("probe fits the classifiers to features learned before: it needs a start")
        smallest = min(phase.batch for phase in self.phases)
        if self.optim.accumulate > smallest:
            raise ValueError(
                f"a batch of {smallest} can't be cut into {self.optim.accumulate} parts (optim.accumulate)"
            )
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """Every setting that changes the weights and is not at its default, by dotted key.

        A checkpoint of another identity can't go on. An option that is added later, and left alone, changes nothing.
        """
        return dict(_flat(self.model_dump(mode="json", exclude_defaults=True, exclude=NO_IDENTITY)))

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def phase_at(self, step: int) -> PhaseConfig:
        return self._place(step)[0]

    def sequence_start(self, step: int) -> int:
        """The step at which the sequences of `step` began: itself, unless its phase carries state over steps."""
        phase, into = self._place(step)
        return step - into % phase.carry_steps

    def _place(self, step: int) -> tuple[PhaseConfig, int]:
        """The phase of a step and how many steps of that phase come before it."""
        into = step
        for phase in self.phases:
            if into < phase.steps:
                return phase, into
            into -= phase.steps
        raise IndexError(f"step {step} is after the last phase")


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below, with its dotted key."""
    if isinstance(value, dict | list) and value:
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def load_train_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read and check a training configuration; TrainError names file, key and what was expected.

    overrides: `optim.lr=1e-4`, in YAML after the sign; a number in a key counts a list's entries from 0.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TrainError(f"{path}: not UTF-8") from error
    except yaml.YAMLError as error:
        raise TrainError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    for text in overrides:
        _override(raw, text)
    try:
        return TrainConfig.model_validate(raw)
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise TrainError("\n".join(lines)) from error


def _override(raw: Any, text: str) -> None:
    """Set one value of a configuration as it stands in its file."""
    key, sign, value = text.partition("=")
    *parents, last = key.split(".")
    place = raw
    try:
        parsed = yaml.safe_load(value)
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
        place[int(last) if isinstance(place, list) else last] = parsed
    except (yaml.YAMLError, ValueError, IndexError, TypeError, AttributeError):
        sign = ""
    if not sign or not last:
        raise TrainError(f"--set {text}: expected a key of the configuration and a value, e.g. optim.lr=1e-4")
