"""Linear probe: the classifiers are fitted to the features that training starts from, before its first step.

Fine-tuning under a random classifier first bends good features to it, and with few clips they never recover (Kumar et
al., 2022, "Fine-Tuning can Distort Pretrained Features"). A regression's answer is exact and costs two passes over the
clips; its standardisation of the features is folded into the classifiers' weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from engine.network.recognizer import Recognizer
from stream.failure import SourceError
from train.config import TrainError
from train.data.cache import CacheError
from train.data.clips import ClipRef
from train.data.windows import WindowCache

MOST_ITERATIONS = 2000


@torch.no_grad()
def fit_classifiers(model: Recognizer, refs: Sequence[ClipRef], cache: WindowCache, strength: float) -> float:
    """Fit the classifiers in place; returns the share of the clips that they then recognize.

    strength: the regression's inverse regularisation (C). A clip's features are the mean over its steps. Batch norms
    take the clips' statistics first. Clips that cannot be read are left out. Raises TrainError where a label has no
    clip, and CacheError for a full disk.
    """
    model.eval()
    _take_statistics(model, refs, cache)
    heads = _classifiers(model)
    labels: list[int] = []
    rows: list[npt.NDArray[np.float64]] = []
    with contextlib.ExitStack() as hooks:
        seen: dict[nn.Linear, Tensor] = {}
        for head in heads:
            hooks.callback(head.register_forward_pre_hook(lambda head, inputs: seen.update({head: inputs[0]})).remove)
        for ref, picture, flow in _clips(model, refs, cache):
            model.forward_sequence(picture, flow)
            rows.append(np.concatenate([seen[head].flatten(0, -2).mean(0).double().cpu().numpy() for head in heads]))
            labels.append(model.spec.labels.index(ref.label))
    if missing := [label for n, label in enumerate(model.spec.labels) if n not in labels]:
        raise TrainError(f"probe: no clip of {', '.join(missing)} to fit the classifiers to")
    features = np.stack(rows)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    fit = LogisticRegression(C=strength, class_weight="balanced", max_iter=MOST_ITERATIONS)
    fit.fit((features - mean) / deviation, labels)
    weight, bias = fit.coef_ / deviation, fit.intercept_ - (fit.coef_ / deviation) @ mean
    if len(weight) == 1:  # of two labels scikit-learn gives the second one's logit over the first's
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    widths = np.cumsum([head.in_features for head in heads])[:-1]
    for head, part in zip(heads, np.split(weight, widths, axis=1), strict=True):
        head.weight.copy_(torch.from_numpy(part))
    heads[0].bias.copy_(torch.from_numpy(bias))
    return float(fit.score((features - mean) / deviation, labels))


def _classifiers(model: Recognizer) -> list[nn.Linear]:
    """Those whose sum the logits are; the first has a bias."""
    if model.memory_head is None:
        return [model.head]
    residual = model.spec.network.memory_mode == "residual"
    return [model.head, model.memory_head] if residual else [model.memory_head]


def _clips(model: Recognizer, refs: Sequence[ClipRef], cache: WindowCache) -> Iterator[tuple[ClipRef, Tensor, Tensor]]:
    """Each as one sequence of windows."""
    device = model.head.weight.device
    for ref in refs:
        try:
            clip = cache[ref]
        except CacheError:
            raise
        except (SourceError, TrainError):  # preparing has told of it
            continue
        picture, flow = (torch.from_numpy(np.array(part))[None].to(device) for part in (clip.picture, clip.flow))
        yield ref, picture, flow


def _take_statistics(model: Recognizer, refs: Sequence[ClipRef], cache: WindowCache) -> None:
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm3d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all that follows
        norm.train()
    for _, picture, flow in _clips(model, refs, cache):
        model.forward_sequence(picture, flow)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
