"""`swinstream info`: what models know, need and cost; of bundles, and of configurations to train one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from engine.bundle import Bundle
from engine.network.cost import total
from engine.spec import ModelSpec
from stream.commands import guarded
from stream.config_problem import ConfigError

CONFIGURATION_SUFFIXES = {".yaml", ".yml"}


class Subject(NamedTuple):
    """What is told of. bundle: None where there is only a configuration to train one."""

    spec: ModelSpec
    path: Path
    bundle: Bundle | None


def info(names: Sequence[str], as_json: bool) -> int:
    """One model: all that is known of it. Several: a table, in Markdown, to compare them. Returns the exit code."""
    with guarded(Console(stderr=True)) as code:
        subjects = [_find(name) for name in names]
        console = Console(highlight=False, soft_wrap=True)
        if as_json:
            for subject in subjects:
                sys.stdout.write(json.dumps(_facts(subject)) + "\n")
        elif len(subjects) == 1:
            console.print(_description(subjects[0]))
            if (bundle := subjects[0].bundle) is not None:
                console.print(f"\n{(bundle.path / 'card.md').read_text(encoding='utf-8').rstrip()}", markup=False)
        else:
            sys.stdout.writelines(f"{line}\n" for line in _comparison(subjects))
    return code[0]


def _find(name: str) -> Subject:
    """Raises BundleError; ConfigError for a file that is no training configuration."""
    path = Path(name)
    if path.suffix.lower() not in CONFIGURATION_SUFFIXES or path.is_dir():
        bundle = Bundle.load(name)
        return Subject(bundle.spec, bundle.path, bundle)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ConfigError(f"{path}: no training configuration: it has no section `model`")
    try:
        return Subject(ModelSpec.model_validate(content["model"]), path, None)
    except ValidationError as error:
        where = ".".join(map(str, ("model", *error.errors()[0]["loc"])))
        raise ConfigError(f"{path}: {where}: {error.errors()[0]['msg']}") from error


def _facts(subject: Subject) -> dict[str, Any]:
    spec, bundle = subject.spec, subject.bundle
    cost = total(spec)
    own = {} if bundle is None else {"fingerprint": bundle.identity}
    compiled = {} if bundle is None else {"precisions": bundle.precisions}
    return {
        "name": spec.name,
        "version": spec.version,
        **own,
        "labels": list(spec.labels),
        "modality": spec.modality,
        "picture": f"{spec.width}x{spec.height}",
        "rate_hz": spec.rate_hz,
        "window_s": spec.window_s,
        "steps_per_window": spec.steps,
        "inputs": {tensor.name: list(tensor.shape) for tensor in spec.inputs},
        "memory": spec.network.memory,
        **compiled,
        "parameters": cost.parameters,
        "macs_per_window": cost.macs,
        "path": str(subject.path),
    }


def _description(subject: Subject) -> Table:
    table = Table.grid(padding=(0, 2))
    for key, value in _facts(subject).items():
        table.add_row(key.replace("_", " "), _text(value))
    return table


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _comparison(subjects: Sequence[Subject]) -> list[str]:
    """Lines of a Markdown table. Not rich's: it would cut cells to the terminal's width."""
    columns = ("model", "pictures", "flow", "steps", "memory", "M parameters", "GMAC a window", "GMAC a second")
    rows: list[Sequence[str]] = [columns, ["---" if i < 5 else "---:" for i in range(len(columns))]]
    for spec, _, _ in subjects:
        cost, shapes = total(spec), {tensor.name: tensor.shape for tensor in spec.inputs}
        gmacs = cost.macs / 1e9
        rows.append(
            (
                spec.name,
                "x".join(map(str, shapes["picture"])),
                "x".join(map(str, shapes.get("flow", ("none",)))),
                str(spec.steps),
                spec.network.memory,
                f"{cost.parameters / 1e6:.2f}",
                f"{gmacs:.2f}",
                f"{gmacs / spec.window_s:.2f}",
            )
        )
    return [f"| {' | '.join(row)} |" for row in rows]
