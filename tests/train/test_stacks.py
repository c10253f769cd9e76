from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.bundle import Bundle
from engine.network.cost import total
from engine.spec import ModelSpec, NetworkSpec
from stream.bench.footage import Film, Format
from stream.clip import Clip
from stream.demo.record import write_mp4
from stream.demo.scene import clip
from train import comparison
from train.stacks import VIDEO_SWIN_T, first_written, overlap, stateless

KEYS = {"cameras", "seconds", "core_ms_per_camera_s", "fps_min", "dropped", "latency_ms", "rss_mib"}
"""The contract: those of `bench cameras --json`, which a baseline has, too."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    write_mp4(path, clip(np.random.default_rng(0), "walk", 4.0, 15), 15)
    return path


def test_the_first_stacks_network_is_the_published_one() -> None:
    assert total(VIDEO_SWIN_T).macs / 1e9 == pytest.approx(87.9, rel=0.01)
    assert total(VIDEO_SWIN_T).parameters / 1e6 == pytest.approx(28.2, rel=0.01)


def test_first_written_stack(film: Path) -> None:
    network = NetworkSpec(embed_dim=8, depths=(1, 1), heads=(1, 2), memory="none")
    spec = VIDEO_SWIN_T.model_copy(update={"ticks": 8, "height": 32, "width": 32, "network": network})
    found = first_written(str(film), 15, 2, spec)
    assert found.keys() > KEYS
    assert found["latency_ms"]["n"] == 2, "a decision a second"
    stages = found["core_ms_by_stage"]
    assert set(stages) == {"decode", "flow", "network"}
    assert sum(stages.values()) == pytest.approx(found["core_ms_per_camera_s"], abs=0.1)
    with pytest.raises(ValueError, match="ends after 60 frames"):
        first_written(str(film), 15, 5, spec)


def test_stateless_stack_on_the_compiled_network(film: Path) -> None:
    bundle = Bundle.load("movements")
    found = stateless(str(film), 15, 2, bundle, compiled=True)
    assert found.keys() > KEYS
    assert (found["seconds"], found["latency_ms"]["n"]) == (2.0, 2)
    short = stateless(str(film), 15, 2, bundle, context=1, compiled=True)
    network_ms, short_ms = (one["core_ms_by_stage"]["network"] for one in (found, short))
    assert network_ms > 1.5 * short_ms, "each decision has two windows to compute"
    with pytest.raises(ValueError, match="too short"):
        stateless(str(film), 15, 9, bundle, compiled=True)


def test_overlapping_windows_end_at_each_step(spec: ModelSpec) -> None:
    """Two pictures and two flows a window: the pictures of ticks 0 and 2, of 4 and 6."""
    first = Clip(np.array([[0, 2]], np.uint8), np.array([[10, 12]], np.float16))
    second = Clip(np.array([[4, 6]], np.uint8), np.array([[14, 16]], np.float16))
    windows = overlap(first, second, spec.steps)
    assert windows.picture.tolist() == [[2, 4], [4, 6]]
    assert windows.flow.tolist() == [[12, 14], [14, 16]]


def test_pictures_of_a_step_stay_together() -> None:
    none = np.empty((1, 0), np.float16)
    first, second = (Clip(np.arange(n, n + 4, dtype=np.uint8)[None], none) for n in (0, 4))
    assert overlap(first, second, 2).picture.tolist() == [[2, 3, 4, 5], [4, 5, 6, 7]]


def test_comparison_runs_each_stack_in_a_process_of_its_own(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "STACKS", {"baseline_stateless": ("stateless", 1)})
    told: list[str] = []
    found = comparison.compare(Film(film, 4.0, None), Format(160, 128, 15), None, told.append)
    assert told == ["stateless"]
    assert found["baseline_stateless"].keys() > KEYS
    stages = found["baseline_stateless"]["core_ms_by_stage"]
    assert stages["network"] > stages["flow"] > 0
    assert comparison.missing() == ""
