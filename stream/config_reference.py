"""The configuration's reference page, from its models: `python -m stream.config_reference docs/configuration.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from stream.config import Config
from stream.uri import CameraUri

_HEAD = """# Configuration

`swinstream run CONFIG.yaml` reads one YAML file. The only section it needs is `cameras`; everything else has a
default. [`configs/cameras/`](../configs/cameras) has examples to copy. Unknown keys are refused, and an error names
file, line, key, value and what was expected.

- Paths are relative to the folder of the file.
- `${NAME}` in a value is taken from the environment; `$$` is a dollar sign. Within the user name and password of an
  address, what the variable holds is escaped as needed. Passwords appear in no log, event, metric or error.
- Names of cameras and zones are made of `a-z`, `0-9` and `-`.

This page is made from the models in `stream/config.py` by `python -m stream.config_reference docs/configuration.md`.
"""


def reference() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    sections = list(_sections("", Config))
    described: dict[type[BaseModel], str] = {}  # at the key that is least deep
    for key, model in sorted(sections, key=lambda section: section[0].count(".")):
        described.setdefault(model, key)
    for key, model in sections:
        title = f"`{key}`" if key else "Top level"
        if described[model] != key:
            parts.append(f"## {title}\n\nThe same keys as `{described[model]}`.\n")
        else:
            parts.append(f"## {title}\n\n{_first_paragraph(model)}\n\n{_table(model)}")
    return "\n".join(parts)


def _sections(key: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield key, model
    for name, field in model.model_fields.items():
        path = f"{key}.{name}".lstrip(".")
        for inside, suffix in _models_in(field.annotation):
            yield from _sections(path + suffix, inside)


def _models_in(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The models in an annotation, and how a path goes on to an element of theirs."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
        return
    suffix = {tuple: "[]", dict: ".<label>"}.get(get_origin(annotation), "")
    for argument in get_args(annotation):
        for model, rest in _models_in(argument):
            yield model, suffix + rest


def _table(model: type[BaseModel]) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        cells = (f"`{name}`", _type(field.annotation) + _limits(field), _default(field), field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type(a) for a in arguments if a is not NoneType)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping of label to {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    names = {str: "text", bool: "true or false", int: "integer", float: "number", Path: "path"}
    return names.get(annotation) or {SecretStr: "text", CameraUri: "address or path"}[annotation]


def _limits(field: FieldInfo) -> str:
    """` (above 0, at most 5)` of a number."""
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    found = [f"{words[k]} {getattr(m, k):,}" for m in field.metadata for k in words if getattr(m, k, None) is not None]
    return f" ({', '.join(found)})" if found else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if value is None or isinstance(value, BaseModel | tuple | dict):
        return ""  # the meaning says it, or the section's own table
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").strip().split("\n\n", maxsplit=1)[0].split())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
