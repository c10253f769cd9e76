from __future__ import annotations

import math

import pytest
import torch

from engine.network.recognizer import Recognizer
from train.config import OptimConfig, TrainConfig
from train.objective import Answers, Objective, Sequences, mixed, sequence_loss


def random_batch(config: TrainConfig, n: int, windows: int, seed: int = 0) -> Sequences:
    spec, generator = config.model, torch.Generator().manual_seed(seed)
    picture = torch.randint(0, 256, (n, windows, 2, spec.height, spec.width, 3), generator=generator, dtype=torch.uint8)
    flow = torch.randn((n, windows, 2, 2, spec.height, spec.width), generator=generator).half()
    target = torch.randint(0, 3, (n, windows, spec.steps), generator=generator)
    reset = torch.zeros((n, windows), dtype=torch.bool)
    return Sequences(picture, flow, reset, (Answers(target, torch.ones(target.shape)),))


def test_the_loss_counts_only_what_is_asked() -> None:
    logits = torch.tensor([[[[5.0, 0.0], [0.0, 5.0]]]])
    weight = torch.ones(1, 1, 2)
    both = sequence_loss(logits, Answers(torch.tensor([[[0, 1]]]), weight), 0.0)
    one = sequence_loss(logits, Answers(torch.tensor([[[0, -1]]]), weight), 0.0)
    assert float(both) == pytest.approx(float(one)) == pytest.approx(math.log1p(math.exp(-5)))
    assert float(sequence_loss(logits, Answers(torch.tensor([[[-1, -1]]]), weight), 0.0)) == 0


def test_parts_of_a_batch_add_up_to_its_loss() -> None:
    logits = torch.randn(4, 1, 2, 3)
    answers = Answers(torch.tensor([[[0, 1]], [[2, -1]], [[-1, -1]], [[1, 1]]]), torch.rand(4, 1, 2))
    whole = sequence_loss(logits, answers, 0.1)
    parts = [
        sequence_loss(logits[rows], Answers(answers.target[rows], answers.weight[rows]), 0.1, answers.mass)
        for rows in (slice(0, 1), slice(1, 4))
    ]
    assert float(sum(parts)) == pytest.approx(float(whole))


def test_stateless_zeroes_the_state_before_every_window(config: TrainConfig) -> None:
    torch.manual_seed(0)
    model = Recognizer(config.model).eval()
    torch.nn.init.normal_(model.memory_head.weight)  # type: ignore[union-attr]
    batch = random_batch(config, 1, 3)
    alone = [batch.part(slice(None), slice(i, i + 1)) for i in range(3)]
    losses = {}
    for stateless in (True, False):
        objective = Objective(model, OptimConfig(), torch.float32, stateless=stateless)
        losses[stateless] = float(objective(batch, [batch.answers[0].mass], None).loss.detach())
        windows = [float(objective(one, [one.answers[0].mass], None).loss.detach()) for one in alone]
    assert losses[True] == pytest.approx(sum(windows) / 3, rel=1e-5)
    assert losses[False] != pytest.approx(losses[True], rel=1e-3)


def test_a_window_with_reset_knows_nothing_of_those_before(config: TrainConfig) -> None:
    torch.manual_seed(0)
    model = Recognizer(config.model).eval()
    torch.nn.init.normal_(model.memory_head.weight)  # type: ignore[union-attr]
    objective = Objective(model, OptimConfig(), torch.float32, stateless=False)
    batch = random_batch(config, 1, 2)
    late = batch.part(slice(None), slice(1, 2))
    alone = objective(late, [late.answers[0].mass], None)
    after = [
        objective(batch._replace(reset=torch.tensor([[False, reset]])), [late.answers[0].mass], None)
        for reset in (True, False)
    ]
    assert torch.allclose(after[0].state[0], alone.state[0], atol=1e-6)
    assert not torch.allclose(after[1].state[0], alone.state[0], atol=1e-3)


def test_mixup_mixes_neighbours_and_their_answers(config: TrainConfig) -> None:
    batch = random_batch(config, 3, 1)
    result = mixed(batch, 0.8, seed=1, step=7)
    own, other = result.answers
    assert own.share + other.share == 1
    assert torch.equal(other.target[0], own.target[2])
    expected = own.share * batch.picture[0].float() + other.share * batch.picture[2].float()
    assert (result.picture[0].float() - expected).abs().max() <= 0.5 + 1e-3
    expected = own.share * batch.flow[0].float() + other.share * batch.flow[2].float()
    assert torch.allclose(result.flow[0].float(), expected, atol=2e-3)
    assert mixed(batch, 0.8, seed=1, step=7).answers[0].share == own.share != mixed(batch, 0.8, 1, 8).answers[0].share


def test_the_loss_of_mixed_sequences_is_mixed(config: TrainConfig) -> None:
    torch.manual_seed(0)
    objective = Objective(Recognizer(config.model).eval(), OptimConfig(), torch.float32, stateless=False)
    batch = mixed(random_batch(config, 2, 1), 1.0, seed=0, step=0)

    def loss(*answers: Answers) -> float:
        return float(objective(batch._replace(answers=answers), [a.mass for a in answers], None).loss.detach())

    own, other = batch.answers
    apart = own.share * loss(own._replace(share=1.0)) + other.share * loss(other._replace(share=1.0))
    assert loss(own, other) == pytest.approx(apart, rel=1e-5)


def test_bf16_gives_nearly_the_loss_of_fp32(config: TrainConfig) -> None:
    torch.manual_seed(0)
    model, batch = Recognizer(config.model).eval(), random_batch(config, 2, 2)
    masses = [batch.answers[0].mass]
    exact, rounded = (
        Objective(model, OptimConfig(), precision, stateless=False)(batch, masses, None)
        for precision in (torch.float32, torch.bfloat16)
    )
    assert rounded.loss.dtype == rounded.state[0].dtype == torch.float32
    assert rounded.loss.item() == pytest.approx(exact.loss.item(), rel=2e-2)
    assert rounded.loss.item() != exact.loss.item()
