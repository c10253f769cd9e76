"""Ten minutes, less the bottles, in which nobody does anything: what a recognizer must be silent about.

    python -m benchmarks.quiet_footage FOLDER
    swinstream evaluate movements --data ../shared/data/weizmann --quiet FOLDER

Writes noise.mp4 (150 s of a camera without a picture), lights.mp4 (180 s of still scenes whose light changes) and
idle.mp4 (240 s of figures that stand about): with the 40 s of intel_bottle-detection.mp4 some ten minutes. Seeds
differ from all that is trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from stream.demo.motions import IDLE
from stream.demo.record import write_mp4
from stream.demo.scene import Lens, Scene

SIZE = 320, 240  # width, height
FPS = 15.0
SEED = 1_000_003

Picture = npt.NDArray[np.uint8]


def noise(rng: np.random.Generator, seconds: float) -> Iterator[Picture]:
    """Every ten seconds another grain, brightness and strength."""
    width, height = SIZE
    for tick in range(round(seconds * FPS)):
        if tick % round(10 * FPS) == 0:
            grain, level, strength = int(rng.integers(1, 17)), rng.uniform(40, 200), rng.uniform(5, 80)
        small = rng.normal(level, strength, (-(-height // grain), -(-width // grain), 3)).clip(0, 255).astype(np.uint8)
        yield np.asarray(cv2.resize(small, SIZE, interpolation=cv2.INTER_LINEAR), np.uint8)


def lights(rng: np.random.Generator, seconds: float) -> Iterator[Picture]:
    """A new empty scene every twenty seconds; lamps go on and off, clouds pass, a tube flickers."""
    width, height = SIZE
    for _ in range(round(seconds / 20)):
        lens = Lens(0.0, 1.0, 0.0, 0.0, 0.1, 0.0, 0.0, 2.0, 0.0)
        scene = Scene(rng, [("none", 20.0)], width, height, lens=lens, distractors=0)
        kind, speed, depth = rng.integers(3), rng.uniform(0.05, 0.5), rng.uniform(0.1, 0.5)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        away = np.hypot(np.arange(width)[None] - x, np.arange(height)[:, None] - y)[..., None]
        fall = np.exp(-away / rng.uniform(100, 1000))
        for tick in range(round(20 * FPS)):
            t = tick / FPS
            level = (float(np.sign(np.sin(2 * np.pi * speed * t))), np.sin(2 * np.pi * speed * t), rng.normal(0, 0.5))
            light = 1 + depth * level[kind] * fall
            yield np.clip(scene.frame(t) * light, 0, 255).astype(np.uint8)


def idle(rng: np.random.Generator, seconds: float) -> Iterator[Picture]:
    """Another figure every twenty seconds, which stands, shifts its weight and looks about."""
    width, height = SIZE
    for _ in range(round(seconds / 20)):
        scene = Scene(rng, [(IDLE, 20.0)], width, height, border="turn", distractors=0)
        for tick in range(round(20 * FPS)):
            yield scene.frame(tick / FPS)


def write_quiet_footage(folder: Path, share: float = 1.0, seed: int = SEED) -> list[Path]:
    """Write the three files; share: of their full lengths. Raises stream.demo.record.RecordError."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, (frames, seconds) in {"noise": (noise, 150), "lights": (lights, 180), "idle": (idle, 240)}.items():
        path = folder / f"{name}.mp4"
        write_mp4(path, frames(np.random.default_rng(seed), seconds * share), FPS, bitrate_kbit=4000)
        made.append(path)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for path in write_quiet_footage(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
