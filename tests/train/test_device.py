from __future__ import annotations

import pytest
import torch

from train.config import TrainConfig, TrainError
from train.device import has_bf16, pick_device, pick_precision

CPU = torch.device("cpu")


def test_auto_takes_bf16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_precision("auto", CPU) == (torch.bfloat16 if has_bf16(CPU) else torch.float32)
    assert pick_precision("bf16", CPU) == torch.bfloat16
    assert pick_precision("fp32", CPU) == torch.float32
    for capabilities, expected in (
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx2": True, "avx512_bf16": False, "cpu_name": "bf16"}, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert pick_precision("auto", CPU) == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_told(config: TrainConfig) -> None:
    with pytest.raises(TrainError, match="no CUDA device"):
        pick_device(config.model_copy(update={"device": "cuda"}))
