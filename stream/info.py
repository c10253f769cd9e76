"""`swinstream info`: what a model knows, what it needs and what it costs."""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.table import Table

from engine.bundle import Bundle
from engine.network.cost import costs
from stream.commands import guarded


def info(name: str, as_json: bool) -> int:
    """Returns the exit code."""
    with guarded(Console(stderr=True)) as code:
        bundle = Bundle.load(name)
        spec = bundle.spec
        rows = costs(spec)
        facts = {
            "name": spec.name,
            "version": spec.version,
            "fingerprint": bundle.identity,
            "labels": list(spec.labels),
            "modality": spec.modality,
            "picture": f"{spec.width}x{spec.height}",
            "rate_hz": spec.rate_hz,
            "window_s": spec.window_s,
            "steps_per_window": spec.steps,
            "memory": spec.network.memory,
            "precisions": bundle.precisions,
            "parameters": sum(row.parameters for row in rows),
            "macs_per_window": sum(row.macs for row in rows),
            "path": str(bundle.path),
        }
        if as_json:
            sys.stdout.write(json.dumps(facts) + "\n")
        else:
            table = Table.grid(padding=(0, 2))
            for key, value in facts.items():
                text = (
                    ", ".join(value) if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else value
                )
                table.add_row(key.replace("_", " "), str(text))
            console = Console(highlight=False, soft_wrap=True)
            console.print(table)
            console.print(f"\n{(bundle.path / 'card.md').read_text(encoding='utf-8').rstrip()}", markup=False)
    return code[0]
