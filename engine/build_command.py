"""`swinstream build`: compile a model, check it where it can run, and say where the engine is."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from engine.build import Built, Recipe, Target, build_engine
from engine.bundle import Bundle, BundleError
from engine.cache import EngineCache
from engine.parity import Parity, check_parity
from engine.runtime.base import EngineError, Precision
from engine.runtime.driver import find_gpu
from engine.runtime.openvino import OpenVINOEngine
from engine.tensorrt_build import TensorRTOptions, layer_report
from engine.trial import try_tensorrt

NOT_RUN = "not run: no GPU"


def build(
    name: str,
    target: Target,
    precision: Precision,
    batches: str,
    capabilities: str,
    options: TensorRTOptions,
    cache_folder: Path | None,
    again: bool,
    as_json: bool,
) -> int:
    """Build an engine of a bundle; returns the exit code. batches, capabilities: numbers with commas between."""
    console = Console(stderr=True)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    sizes, gpus = _numbers(batches), _numbers(capabilities)
    if not sizes or gpus is None:
        console.print("--batch and --sm are whole numbers above 0 with commas between, as in 1,4,16", style="red")
        return 2
    options = TensorRTOptions(gpus, options.workspace_mib, options.version_compatible, options.hardware_compatible)
    recipe, cache = Recipe(target, precision, sizes, options), EngineCache(cache_folder)
    started = time.monotonic()
    try:
        bundle = Bundle.load(name)
        with _Bars(console) as bars:
            built = build_engine(bundle, recipe, cache=cache, progress=bars, again=again)
        seconds = time.monotonic() - started
        parity = _parity(bundle, recipe, cache, built)
        report = _write_layers(built, target, parity)
    except (BundleError, EngineError, OSError) as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    if as_json:
        line = {
            "engine": str(built.path),
            "bytes": len(built.payload),
            "built": built.fresh,
            "seconds": round(seconds, 2),
            "parity": NOT_RUN if parity is None else parity._asdict(),
            "layers": None if report is None else str(report),
            **{k: v for k, v in json.loads(built.key.to_json()).items() if k != "inputs"},
        }
        sys.stdout.write(json.dumps(line) + "\n")
        return 0
    table = Table(show_header=False, box=None)
    table.add_row("engine", str(built.path))
    table.add_row("size", f"{len(built.payload) / 1e6:.1f} MB")
    table.add_row("made by", built.key.library)
    table.add_row("for", built.key.device)
    table.add_row("time", f"{seconds:.1f} s" if built.fresh else "it was in the cache")
    table.add_row("parity", NOT_RUN if parity is None else str(parity))
    table.add_row("layers", str(report) if report else NOT_RUN if target != "openvino" else "openvino reports none")
    Console(soft_wrap=True).print(table)
    return 0


def _numbers(text: str) -> tuple[int, ...] | None:
    """None where the text is not numbers above 0."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) for part in parts):
        return None
    return tuple(int(part) for part in parts)


def _parity(bundle: Bundle, recipe: Recipe, cache: EngineCache, built: Built) -> Parity | None:
    """How the engine compares with the reference; None where nothing here can run it. Raises ParityError."""
    if recipe.target == "openvino":
        assert recipe.precision != "fp16"
        engine = OpenVINOEngine(bundle, precision=recipe.precision, blob=built.payload)
        try:
            return check_parity(engine, bundle.reference())
        finally:
            engine.close()
    try:
        gpu = find_gpu()
    except EngineError:
        return None
    if recipe.options.capabilities and gpu.capability not in recipe.options.capabilities:
        return None
    return try_tensorrt(bundle, recipe, cache=cache)


def _write_layers(built: Built, target: Target, parity: Parity | None) -> Path | None:
    """The library's report of each layer, beside the engine; None where the engine cannot be loaded."""
    if parity is None or target == "openvino":
        return None
    path = built.path.with_suffix(".layers.json")
    path.write_text(json.dumps(layer_report(built.payload, target), indent=1), encoding="utf-8")
    return path


class _Bars:
    """The builder's phases as progress bars; implements BuildProgress."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        self._tasks[phase] = self._progress.add_task(f"  {phase}" if parent else phase, total=steps)

    def step(self, phase: str, step: int) -> bool:
        self._progress.update(self._tasks[phase], completed=step + 1)
        return True

    def finish(self, phase: str) -> None:
        self._progress.remove_task(self._tasks.pop(phase))
