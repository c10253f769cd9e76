from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.spec import ModelSpec, NetworkSpec
from stream.demo.record import write_mp4
from stream.demo.scene import clip
from train.config import TrainConfig

LABELS = ("walk", "wave1", "none")


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    network = NetworkSpec(
        embed_dim=16,
        depths=(1,),
        heads=(2,),
        window=(2, 4, 4),
        stem="conv",
        stem_channels=(8, 16),
        pool="max",
        memory_channels=8,
    )
    return ModelSpec(
        name="tiny",
        version="1",
        labels=LABELS,
        modality="rgb+flow",
        ticks=4,
        rate_hz=12,
        height=32,
        width=32,
        network=network,
    )


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Decoded clips of tests are kept here, not in the user's cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn clips for each of two labels, as H.264 files in a folder per label, groups in split.csv."""
    root = tmp_path_factory.mktemp("clips")
    rows = ["path,label,group"]
    for label in LABELS[:-1]:
        (root / label).mkdir()
        for i, group in enumerate(("anna", "ben")):
            path = root / label / f"{group}.mp4"
            write_mp4(path, clip(np.random.default_rng(i), label, 2.0, 15), 15)
            rows.append(f"{label}/{group}.mp4,{label},{group}")
    (root / "split.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def settings(spec: ModelSpec, clips: Path) -> dict[str, Any]:
    """A training configuration as it stands in a file."""
    return {
        "model": spec.model_dump(),
        "data": {"root": str(clips)},
        "phases": [
            {"steps": 3, "batch": 2, "windows": 1, "mix": {"drawn": 0.5, "none": 0.3}},
            {"steps": 3, "batch": 1, "windows": 3, "mix": {"drawn": 0.5, "none": 0.3}},
        ],
        "optim": {"warmup_steps": 2},
        "checkpoint_every": 2,
        "workers": 0,
        "device": "cpu",
    }


@pytest.fixture
def config(settings: dict[str, Any]) -> TrainConfig:
    return TrainConfig.model_validate(settings)


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file of more than 10 kB may be written, here and in processes started from here."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
