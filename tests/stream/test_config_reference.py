from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from stream.config import Config
from stream.config_reference import _sections, reference

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference(), (
        "run: python -m stream.config_reference docs/configuration.md"
    )


def test_every_field_says_what_it_means() -> None:
    def silent() -> Iterator[str]:
        for key, model in _sections("", Config):
            assert issubclass(model, BaseModel)
            yield from (f"{key}.{name}" for name, field in model.model_fields.items() if not field.description)

    assert list(silent()) == []
