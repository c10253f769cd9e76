"""Specs of recognizers to test with, and batches of seeded windows for them."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pytest

from engine.spec import Modality, ModelSpec, NetworkSpec

ROOT = Path(__file__).parents[2]


class Clips(NamedTuple):
    """picture uint8 [N, L, Tp, H, W, 3]; flow float16 [N, L, Tf, 2, H, W]."""

    picture: npt.NDArray[np.uint8]
    flow: npt.NDArray[np.float16]


def labels(k: int) -> tuple[str, ...]:
    """k labels, the last of them `none`."""
    return (*(f"action-{i}" for i in range(k - 1)), "none")


def published_spec(k: int = 400, ticks: int = 32, height: int = 224, width: int = 224, **network: Any) -> ModelSpec:
    """Video Swin-T as published, but for `network`."""
    return ModelSpec(
        name="swin3d-t", version="1", labels=labels(k), modality="rgb", ticks=ticks, rate_hz=12.0,
        height=height, width=width, network=NetworkSpec(**{"memory": "none"} | network),
    )  # fmt: skip


def small_spec(
    modality: Modality = "rgb+flow", stem: str = "conv", memory: str = "head", mode: str = "residual"
) -> ModelSpec:
    """A recognizer of a few thousand parameters whose windows are shifted, padded and clipped somewhere."""
    network: dict[str, Any] = {"embed_dim": 16, "memory": memory, "memory_mode": mode, "window": (3, 4, 3)}
    if memory == "blocks":
        network |= {"depths": (1, 2, 1, 2), "heads": (1, 2, 2, 4)}
    else:
        network |= {"depths": (1, 2), "heads": (2, 4)}
    if memory == "head":
        network["memory_channels"] = 12
    if stem == "conv":
        network |= {"stem": "conv", "stem_channels": (8, 16), "pool": "max"}
    return ModelSpec(
        name="small", version="1", labels=labels(5), modality=modality, ticks=8, rate_hz=8.0,
        height=40, width=24, network=NetworkSpec(**network),
    )  # fmt: skip


MEMORIES = (
    ("none", "residual"),
    ("head", "replace"),
    ("head", "residual"),
    ("blocks", "replace"),
    ("blocks", "residual"),
)
FORMS = {
    f"{modality} {stem} {memory}-{mode}": small_spec(modality, stem, memory, mode)
    for modality, stem, (memory, mode) in product(get_args(Modality), ("patch", "conv"), MEMORIES)
}


def _exported_spec(modality: Modality, stem: str, memory: str, mode: str) -> ModelSpec:
    """Of as few blocks as show everything, because an export takes seconds: shifted windows with `none` and `head`,
    merging with `blocks`, two steps but where the graph is largest."""
    spec = small_spec(modality, stem, memory, mode)
    blocks = memory == "blocks"
    depths, heads = ((1, 1, 1, 1), (1, 2, 2, 4)) if blocks else ((2,), (2,))
    network = spec.network.model_copy(update={"depths": depths, "heads": heads})
    return spec.model_copy(update={"network": network, "ticks": (1 if blocks else 2) * spec.pattern.ticks})


EXPORTED_FORMS = {
    f"{modality} {stem} {memory}-{mode}": _exported_spec(modality, stem, memory, mode)
    for number, (modality, (memory, mode)) in enumerate(product(get_args(Modality), MEMORIES))
    for stem in (("patch", "conv")[number % 2],)
}
"""Every modality x memory, the stems in turn."""


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> ModelSpec:
    """Every modality x stem x memory."""
    return FORMS[request.param]


@pytest.fixture(scope="session")
def small() -> Callable[..., ModelSpec]:
    return small_spec


@pytest.fixture(scope="session")
def published() -> Callable[..., ModelSpec]:
    return published_spec


@pytest.fixture(scope="session")
def clips() -> Callable[..., Clips]:
    """clips(spec, n, windows, seed): seeded noise, its flow of some pixels."""

    def make(spec: ModelSpec, n: int, windows: int = 1, seed: int = 0) -> Clips:
        generator = np.random.default_rng(seed)
        size = spec.height, spec.width
        picture = generator.integers(0, 256, (n, windows, len(spec.picture_ticks), *size, 3), dtype=np.uint8)
        flow = generator.standard_normal((n, windows, len(spec.flow_ticks), 2, *size), dtype=np.float32)
        return Clips(picture, (3 * flow).astype(np.float16))

    return make


@pytest.fixture(scope="session")
def recognizer() -> Callable[..., Any]:
    """recognizer(spec, seed): a torch Recognizer in eval mode in which no part is silent: what a fresh network
    starts at zero (memory's share, biases) or at identity (norms) is seeded too."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    from engine.network.recognizer import Recognizer

    def make(spec: ModelSpec, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        model = Recognizer(spec).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1 or not parameter.any():
                    parameter.add_(0.3 * torch.randn_like(parameter))
            for name, buffer in model.named_buffers():
                if "running" in name:
                    buffer.add_(torch.rand_like(buffer))
        return model

    return make


@pytest.fixture(scope="session")
def exported_form(recognizer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:
    """exported_form(name of EXPORTED_FORMS): its torch Recognizer, and its graph, exported once."""
    pytest.importorskip("torch")
    from engine.export import export_onnx

    folder = tmp_path_factory.mktemp("forms")

    @cache
    def export(form: str) -> tuple[Any, Path]:
        model = recognizer(EXPORTED_FORMS[form])
        path = folder / f"{list(EXPORTED_FORMS).index(form)}.onnx"
        export_onnx(model, path)
        return model, path

    return export


@pytest.fixture(scope="session")
def exported(recognizer, clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the small head-memory network: share it, do not change it."""
    pytest.importorskip("torch")
    from engine.export import export_bundle
    from engine.parity import MIN_WINDOWS

    spec = small_spec()
    picture, flow = (x[0] for x in clips(spec, 1, MIN_WINDOWS))
    path: Path = tmp_path_factory.mktemp("bundles") / "small"
    thresholds = {"temperature": 1.0}
    export_bundle(recognizer(spec), path, picture=picture, flow=flow, thresholds=thresholds, card="# small\n")
    return path


@pytest.fixture
def bundle_folder(exported: Path, tmp_path: Path) -> Path:
    """A copy of the bundle to spoil."""
    return Path(shutil.copytree(exported, tmp_path / "small"))


@pytest.fixture(scope="session")
def swin3d_fixture() -> ModuleType:
    """The script that made tests/engine/fixtures/swin3d_t_logits.npz: its seeded weights and clips."""
    module_spec = importlib.util.spec_from_file_location("swin3d_fixture", ROOT / "scripts/make_swin3d_fixture.py")
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module
