"""A TensorRT engine tried in a process of its own: what crashes inside the library takes only that process down."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from engine.build import DEFAULT_BATCHES
from engine.bundle import Bundle, BundleError
from engine.cache import EngineCache
from engine.parity import Parity, ParityError, check_parity
from engine.runtime.base import EngineError, Precision
from engine.tensorrt_build import TensorRTOptions, TensorRTTarget

TIMEOUT_S = 3600  # it may have to build


def try_tensorrt(
    bundle: Bundle,
    target: TensorRTTarget,
    precision: Precision,
    batches: tuple[int, ...] = DEFAULT_BATCHES,
    *,
    options: TensorRTOptions | None = None,
    cache: EngineCache | None = None,
) -> Parity:
    """Load the engine (build it, where it is not in the cache) and check its parity.

    Raises ParityError if it computes something else, EngineError if it cannot be had or the library crashes.
    """
    request = {
        "bundle": str(bundle.path),
        "target": target,
        "precision": precision,
        "batches": batches,
        "options": asdict(options or TensorRTOptions()),
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
        raise EngineError(f"TensorRT crashed ({how}) with model '{bundle.name}' in {precision}: {said}") from None
    if "error" in answer:
        raise ParityError(answer["error"], precision) if answer["parity"] else EngineError(answer["error"])
    return Parity(**answer)


def main(text: str) -> None:
    """Print the parity, or what went wrong, as a line of JSON."""
    from engine.runtime.tensorrt import open_tensorrt

    request = json.loads(text)
    options = request["options"]
    options["capabilities"] = tuple(options["capabilities"])
    try:
        bundle = Bundle.load(Path(request["bundle"]))
        engine = open_tensorrt(
            bundle,
            request["target"],
            request["precision"],
            tuple(request["batches"]),
            options=TensorRTOptions(**options),
            cache=EngineCache(Path(request["cache"])),
        )
        try:
            answer = check_parity(engine, bundle.reference())._asdict()
        finally:
            engine.close()
    except (EngineError, BundleError) as error:
        answer = {"error": str(error), "parity": isinstance(error, ParityError)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
