"""Linear probe: the classifier is fitted to the features that training starts from, before its first step.

Fine-tuning under a random classifier first bends good features to it, and with few clips they never recover (Kumar et
al., 2022, "Fine-Tuning can Distort Pretrained Features"). A regression's answer is exact and costs a pass over the
clips for each size of picture; its standardisation of the features is folded into the classifier's weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress, TaskID
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn

from engine.network.recognizer import Recognizer
from engine.spec import NONE_LABEL
from stream.clip import Clip
from stream.failure import SourceError
from train.config import ProbeConfig, TrainError
from train.data.cache import CacheError
from train.data.clips import ClipRef
from train.data.moving import with_moving_camera
from train.data.windows import WindowCache

Array = npt.NDArray[np.float64]

MOST_ITERATIONS = 2000
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
PARTS = 4  # of the cross-validation that chooses one of them
SEED = 0


class Fitted(NamedTuple):
    """clips, quiet: that could be read. strength: C. right: share of the clips that it then recognizes."""

    clips: int
    quiet: int
    strength: float
    right: float

    def __str__(self) -> str:
        beside = f" and {self.quiet} quiet ones" if self.quiet else ""
        return f"fitted to {self.clips} clips{beside}, {self.right:.1%} of them right, with C = {self.strength:g}"


@torch.no_grad()
def fit_classifier(
    model: Recognizer,
    refs: Sequence[ClipRef],
    quiet: Sequence[ClipRef],
    cache: Path | None,
    config: ProbeConfig,
    progress: Progress,
) -> Fitted:
    """Fit, in place, the classifier that decides alone.

    That is `memory_head` where memory replaces the features, else `head`; a residual `memory_head` is silenced. A
    clip's features are the mean over its steps, at the model's size of picture and at each of `config.sizes`. quiet:
    clips of `none` beside the data's own, which count `config.quiet_weight` each. Every clip of `none` counts once
    more, `config.moving_weight` as much, as a moving camera would have taken it. cache: folder for decoded clips. Clips
    that cannot be read are left out. Raises TrainError where a label has no clip, and CacheError for a full disk.
    """
    model.eval()
    spec = model.spec
    sizes = dict.fromkeys([(spec.height, spec.width), *config.sizes])
    weights = dict.fromkeys(quiet, config.quiet_weight) | dict.fromkeys(refs, 1.0)
    task = progress.add_task("probe", total=len(sizes) * len(weights))
    rows: list[Row] = []
    own: list[Row] = []
    for height, width in sizes:
        sized = _resized(model, height, width)
        rows += _rows(sized, weights, config.moving_weight, WindowCache(cache, sized.spec), progress, task)
        own = own or list(rows)
    labels = [spec.labels.index(row.ref.label) for row in rows]
    if missing := [label for n, label in enumerate(spec.labels) if n not in labels]:
        raise TrainError(f"probe: no clip of {', '.join(missing)} to fit the classifier to")
    table = np.stack([row.features for row in rows])
    mean, deviation = table.mean(axis=0), table.std(axis=0) + 1e-6
    table = (table - mean) / deviation
    groups, each = np.array([row.ref.group for row in rows]), np.array([row.weight for row in rows])
    samples = Samples(table, np.array(labels), groups, each)
    strength = config.strength or best_strength(samples)
    fit = regression(samples, strength)
    weight, bias = fit.coef_ / deviation, fit.intercept_ - (fit.coef_ / deviation) @ mean
    if len(weight) == 1:  # of two labels scikit-learn gives the second one's logit over the first's
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    head = _classifier(model)
    head.weight.copy_(torch.from_numpy(weight))
    head.bias.copy_(torch.from_numpy(bias))
    if head is model.head and model.memory_head is not None:
        model.memory_head.weight.zero_()
    known = set(refs)
    told = [n for n, row in enumerate(own) if row.ref in known and not row.moving]
    others = sum(row.ref not in known and not row.moving for row in own)
    return Fitted(len(told), others, strength, float(fit.score(table[told], samples.labels[told])))


class Row(NamedTuple):
    """A clip at one size of picture. features: float64 [D], the mean over its steps."""

    ref: ClipRef
    features: Array
    weight: float
    moving: bool


class Samples(NamedTuple):
    """Clips: float64 [n, D] features, int64 [n] label, str [n] group, float64 [n] weight."""

    table: Array
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]
    weights: Array

    def part(self, rows: npt.NDArray[np.int64]) -> Samples:
        return Samples(self.table[rows], self.labels[rows], self.groups[rows], self.weights[rows])


def regression(samples: Samples, strength: float) -> LogisticRegression:
    """In which all labels weigh the same. strength: C."""
    counts = np.bincount(samples.labels, samples.weights)
    weights = samples.weights / counts[samples.labels] * (samples.weights.sum() / np.count_nonzero(counts))
    fit = LogisticRegression(C=strength, max_iter=MOST_ITERATIONS)
    return fit.fit(samples.table, samples.labels, sample_weight=weights)


def best_strength(samples: Samples) -> float:
    """Of STRENGTHS, the one to which the labels of groups that it was not fitted to are likeliest.

    Raises TrainError where labels have too few groups to leave some out.
    """
    labels = np.unique(samples.labels)
    parts = min(PARTS, *(len(set(samples.groups[samples.labels == label])) for label in labels))
    dealt = []
    if parts > 1:
        dealer = StratifiedGroupKFold(parts, shuffle=True, random_state=SEED)
        for fitted, held in dealer.split(samples.table, samples.labels, samples.groups):
            if np.isin(labels, samples.labels[fitted]).all():
                dealt.append((samples.part(fitted), samples.part(held)))
    if not dealt:
        raise TrainError(
            "probe: the clips have too few groups to choose its strength by: give probe.strength, say 0.03"
        )

    def likelihood(strength: float) -> float:
        total = 0.0
        for part, left in dealt:
            fit = regression(part, strength)
            told = fit.predict_log_proba(left.table)[np.arange(len(left.labels)), np.searchsorted(labels, left.labels)]
            total += float(told @ left.weights)
        return total

    return max(STRENGTHS, key=likelihood)


def _classifier(model: Recognizer) -> nn.Linear:
    replaced = model.memory_head is not None and model.spec.network.memory_mode == "replace"
    return model.memory_head if replaced and model.memory_head is not None else model.head


def _resized(model: Recognizer, height: int, width: int) -> Recognizer:
    """The same network for pictures of another size: its weights know none."""
    if (height, width) == (model.spec.height, model.spec.width):
        return model
    sized = Recognizer(model.spec.model_copy(update={"height": height, "width": width}))
    sized.load_state_dict(model.state_dict())
    return sized.to(model.head.weight.device).eval()


def _rows(
    model: Recognizer,
    weights: Mapping[ClipRef, float],
    moving_weight: float,
    cache: WindowCache,
    progress: Progress,
    task: TaskID,
) -> Iterator[Row]:
    """What the classifier is given of each clip that can be read, as one sequence of windows."""
    for n, (ref, weight) in enumerate(weights.items()):
        progress.advance(task)
        try:
            clip = cache[ref]
        except CacheError:
            raise
        except (SourceError, TrainError):  # preparing has told of it
            continue
        yield Row(ref, _features(model, clip), weight, moving=False)
        if moving_weight and ref.label == NONE_LABEL:
            moved = with_moving_camera(clip, model.spec, np.random.default_rng((SEED, n)))
            yield Row(ref, _features(model, moved), weight * moving_weight, moving=True)


def _features(model: Recognizer, clip: Clip) -> Array:
    head = _classifier(model)
    seen: list[Tensor] = []
    picture, flow = (torch.from_numpy(np.array(part))[None].to(head.weight.device) for part in clip)
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        model.forward_sequence(picture, flow)
    finally:
        hook.remove()
    return seen[0].flatten(0, -2).mean(0).double().cpu().numpy()
