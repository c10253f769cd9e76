"""Make tests/engine/fixtures/swin3d_t_logits.npz: what torchvision's swin3d_t says of seeded clips.

torchvision does not import beside the pinned torch, so it speaks once, from an environment of its own:

    python3 -m venv /tmp/torchvision && /tmp/torchvision/bin/pip install torch==2.14.1 torchvision==0.29.1 numpy
    /tmp/torchvision/bin/python scripts/make_swin3d_fixture.py

Weights and clips are not stored: both sides fill them from the same seeded generators (`filled`, `clip`).
The fixture holds names and shapes of the state dict and 400 logits for each clip.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

FIXTURE = Path(__file__).parents[1] / "tests/engine/fixtures/swin3d_t_logits.npz"

# ticks, rows, columns. The anchor; a window clipped in time and space; maps that divide into neither windows
# nor halves.
CLIPS = ((32, 224, 224), (16, 112, 112), (12, 104, 136))

MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")))


def filled(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """A tensor of the state dict, seeded by its name: scaled so that every part of the network matters."""
    noise = _generator(name).standard_normal(shape, dtype=np.float32)
    if name.endswith("relative_position_bias_table"):
        return noise
    if len(shape) == 1:  # norms near identity, biases
        return 0.2 * noise + np.float32("norm" in name and name.endswith("weight"))
    return noise / np.float32(np.sqrt(np.prod(shape[1:])))


def clip(shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """uint8 [T, H, W, 3], seeded by its shape."""
    return _generator(f"clip {shape}").integers(0, 256, (*shape, 3), dtype=np.uint8)


def main() -> None:
    import torch
    from torchvision.models.video import swin3d_t

    model = swin3d_t().eval()
    shapes = {n: tuple(t.shape) for n, t in model.state_dict().items() if not n.endswith("relative_position_index")}
    model.load_state_dict({n: torch.from_numpy(filled(n, s)) for n, s in shapes.items()}, strict=False)
    logits = {}
    with torch.inference_mode():
        for shape in CLIPS:
            pixels = (clip(shape).astype(np.float32) / 255 - MEAN) / STD
            logits["x".join(map(str, shape))] = model(torch.from_numpy(pixels).permute(3, 0, 1, 2)[None])[0].numpy()
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FIXTURE, state_dict=np.array(json.dumps(shapes)), **logits)
    print(f"{FIXTURE}: {', '.join(f'{k} (std {v.std():.2f})' for k, v in logits.items())}")


if __name__ == "__main__":
    main()
