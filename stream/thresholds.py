"""Thresholds: which rules apply to a model's labels. What the user wrote goes before what the model's bundle says.

A bundle's `thresholds.yaml` (every part of it optional):

    temperature: 1.3                # logits are divided by it before the softmax
    defaults: {min_duration_s: 0.5}
    labels:
      walk: {enter: 0.62, exit: 0.41}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream.events import Rules
from stream.wire import first_problem


class ThresholdsError(ValueError):
    """A bundle's thresholds make no sense, by themselves or together with the configuration."""


class Thresholds(BaseModel):
    """What a bundle says of its scores. defaults, labels: fields of `Rules`; not all need be given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(1.0, gt=0)
    defaults: dict[str, Any] = {}
    labels: dict[str, dict[str, Any]] = {}

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Thresholds:
        """From `Bundle.thresholds`. Raises ThresholdsError."""
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise ThresholdsError(f"the model's thresholds: {first_problem(error)}") from None

    def rules(self, labels: Sequence[str], written: Mapping[str, Mapping[str, Any]]) -> dict[str, Rules]:
        """Rules per label. written: per label, the fields of `Rules` that the configuration sets.

        An `exit` goes with its `enter`: where only `enter` is written, the bundle's `exit` does not count.
        Raises ThresholdsError.
        """
        return {label: self._rules(label, written.get(label, {})) for label in labels}

    def _rules(self, label: str, written: Mapping[str, Any]) -> Rules:
        try:
            return Rules.model_validate(overridden({**self.defaults, **self.labels.get(label, {})}, written))
        except ValidationError as error:
            raise ThresholdsError(
                f"the rules for '{label}', from the model's thresholds and the configuration: {first_problem(error)}"
            ) from None


def overridden(fields: Mapping[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `Rules`, some of which others go before. An `exit` goes with its `enter`."""
    kept = {name: value for name, value in fields.items() if name != "exit" or "enter" not in by}
    return kept | dict(by)
