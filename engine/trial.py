"""A TensorRT engine tried in a process of its own: what crashes inside the library takes only that process down."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from engine.build import Recipe
from engine.bundle import Bundle, BundleError
from engine.cache import EngineCache
from engine.parity import Parity, ParityError, check_parity
from engine.runtime.base import EngineError
from engine.tensorrt_build import TensorRTOptions

TIMEOUT_S = 3600  # it may have to build


def try_tensorrt(bundle: Bundle, recipe: Recipe, *, cache: EngineCache | None = None) -> Parity:
    """Load the engine (build it, where it is not in the cache) and check its parity.

    Raises ParityError if it computes something else, EngineError if it cannot be had or the library crashes.
    """
    request = {
        "bundle": str(bundle.path),
        "recipe": asdict(recipe),
        "cache": str((cache or EngineCache()).folder),
    }
    command = [sys.executable, "-m", "engine.trial", json.dumps(request)]
    root = Path(__file__).parents[1]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=root)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"TensorRT did not answer within {TIMEOUT_S} s") from error
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EngineError(
            f"TensorRT crashed ({how}) with model '{bundle.name}' in {recipe.precision}: {said}"
        ) from None
    if "error" in answer:
        raise ParityError(answer["error"], recipe.precision) if answer["parity"] else EngineError(answer["error"])
    return Parity(**answer)


def main(text: str) -> None:
    """Print the parity, or what went wrong, as a line of JSON."""
    from engine.runtime.tensorrt import open_tensorrt

    request = json.loads(text)
    recipe = request["recipe"]
    options = recipe.pop("options")
    options["capabilities"] = tuple(options["capabilities"])
    recipe = Recipe(**recipe | {"batches": tuple(recipe["batches"]), "options": TensorRTOptions(**options)})
    try:
        bundle = Bundle.load(Path(request["bundle"]))
        engine = open_tensorrt(bundle, recipe, cache=EngineCache(Path(request["cache"])))
        try:
            answer = check_parity(engine, bundle.reference())._asdict()
        finally:
            engine.close()
    except (EngineError, BundleError) as error:
        answer = {"error": str(error), "parity": isinstance(error, ParityError)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
