"""The linear probe: every learning rate, weight decay and normalisation trained at once as stacked heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.core.errors import nearest
from unlabeled.core.rng import torch_generator
from unlabeled.data.rows import splits_to_choose
from unlabeled.probes.arrays import Features, InputError, Rows, check_finite, picked, take
from unlabeled.probes.base import SoftmaxProbe, accuracy_in_folds, at_least_two, class_codes, merit
from unlabeled.probes.stacked import Head, Normalise, Scaling, Stack, scaling_of

NORMALISATIONS: tuple[Normalise, ...] = ("none", "l2", "scale", "standard")
LEARNING_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
UNCHOSEN_RATE = 0.1
"""The learning rate (or the nearest one named) where classes have a single row, none of which can be held out."""
FINALISTS = 4
"""So many settings are judged by all folds; the others are given up half by half."""
BYTES_IN_MEMORY = 1 << 30  # features up to 1 GB are read once; larger ones batch by batch


class LinearProbe(SoftmaxProbe):
    """Softmax regression by SGD with momentum and a cosine schedule, swept over settings in one pass.

    All settings see the same batches; their heads are columns of one matrix, so that one product serves all of them.
    The setting is chosen on a stratified part of the training data, then its head is trained again on all of it. A part
    of fewer than 1,000 rows says little: there, each row is held out once, in five folds, and the mean loss decides.
    After every fold the better half of the settings goes on.

    ``normalise="standard"`` is the MAE protocol's ``BatchNorm1d(affine=False, eps=1e-6)`` in front of the head
    (He et al. 2021, A.1) with the statistics of the whole training set, to which BatchNorm's running ones converge.
    ``"scale"`` keeps the features' proportions and only makes the learning rates mean the same for every backbone.

    Args:
        lr: learning rates to try.
        weight_decay: weight decays to try (not applied to biases).
        normalise: ``"none"``, ``"l2"``, ``"scale"``, ``"standard"``, or several to try.
        epochs: passes over the rows; fewer than ``min_steps`` steps are stretched to as many.
        batch_size: rows a step.
        momentum: of SGD.
        min_steps: so that small data sets converge too.
        held_out: share of 1,000 training rows or more that chooses the setting; none is held out for a single setting.
        seed: of the split and the order of the rows.
        device: where to compute; default: where the features lie.

    Attributes:
        best_: the chosen :class:`Head`.
        heads_: all of them with their held-out accuracy and loss, the best first.
        coef_, intercept_: (C, D) and (C,) float32, on normalised features.
    """

    title = "linear"
    records = (Head,)
    best_: Head
    heads_: tuple[Head, ...]
    coef_: Tensor
    intercept_: Tensor
    mean_: Tensor
    std_: Tensor

    def __init__(
        self,
        lr: float | Sequence[float] = LEARNING_RATES,
        weight_decay: float | Sequence[float] = (0.0, 1e-3),
        normalise: Normalise | Sequence[Normalise] = ("scale", "standard"),
        epochs: int = 30,
        batch_size: int = 256,
        momentum: float = 0.9,
        min_steps: int = 500,
        held_out: float = 0.2,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        self.lr = lr
        self.weight_decay = weight_decay
        self.normalise = normalise
        self.epochs = epochs
        self.batch_size = batch_size
        self.momentum = momentum
        self.min_steps = min_steps
        self.held_out = held_out
        self.seed = seed
        self.device = device

    def fit(self, X: Any, y: Any = None) -> LinearProbe:
        """Choose a setting on a held-out part of (N, D) features with (N,) labels, then train it on all rows.

        Raises:
            InputError: features or labels that cannot be used, fewer than two classes, or a bad parameter.
        """
        heads = self._heads()
        features, labels, place = self._fit_inputs(X, y)
        self.classes_, codes = class_codes(labels)
        at_least_two(self.classes_, "LinearProbe")
        features, place = _once(features, place)
        splits = splits_to_choose(codes, self.held_out, self.seed, "linear") if len(heads) > 1 else []
        if splits:
            heads = self._ranked(features, codes, splits, heads, place)
        else:  # nothing to choose by: one setting, or classes of a single row
            heads = sorted(heads, key=lambda head: (abs(math.log(head.lr / UNCHOSEN_RATE)), head.weight_decay))
        self.heads_, self.best_ = tuple(heads), heads[0]
        (weight,), scaling = self._train(features, codes, np.arange(len(codes)), heads[:1], place)
        self.coef_, self.intercept_ = weight[0, :, :-1], weight[0, :, -1]
        self.mean_, self.std_ = scaling.mean, scaling.std
        return self

    def chosen(self) -> dict[str, Any]:
        best = self.best_
        setting = {"lr": best.lr, "weight_decay": best.weight_decay, "normalise": best.normalise}
        return setting | accuracy_in_folds(best.folds)

    def sweep(self, X: Any, y: Any) -> list[tuple[Head, Tensor]]:
        """Train every setting on all rows and return each with its (C, D + 1) weights, the last column the biases."""
        heads = self._heads()
        features, labels, place = self._fit_inputs(X, y)
        self.classes_, codes = class_codes(labels)
        at_least_two(self.classes_, "LinearProbe")
        features, place = _once(features, place)
        weights, _ = self._train(features, codes, np.arange(len(codes)), heads, place)
        return list(zip(heads, torch.cat(weights), strict=True))

    def _scores(self, block: Tensor) -> Tensor:
        scaling = Scaling(self.mean_.to(block), self.std_.to(block))
        return F.linear(scaling.apply(block, self.best_.normalise), self.coef_.to(block), self.intercept_.to(block))

    def _ranked(
        self,
        X: Features | Tensor,
        codes: Rows,
        splits: list[tuple[Rows, Rows]],
        heads: list[Head],
        place: torch.device,
    ) -> list[Head]:
        """All heads, the best first, judged by held-out rows; what was given up earlier is further back."""
        behind: list[Head] = []
        for number, (kept, held) in enumerate(splits):
            weights, scaling = self._train(X, codes, kept, heads, place)
            heads = self._judge(weights, scaling, X, codes, held, heads, place)
            heads.sort(key=lambda head: merit(head, len(splits)), reverse=True)
            if number + 1 < len(splits):
                half = max(-(-len(heads) // 2), FINALISTS)
                heads, behind = heads[:half], heads[half:] + behind
        return heads + behind

    def _train(
        self, X: Features | Tensor, codes: Rows, rows: Rows, heads: list[Head], place: torch.device
    ) -> tuple[list[Tensor], Scaling]:
        """Train all heads on some rows: for each normalisation (H, C, D + 1) weights, in the order of ``heads``."""
        scaling = scaling_of(X, rows, place)
        groups = [(n, [h for h in heads if h.normalise == n]) for n in NORMALISATIONS]
        size = min(self.batch_size, len(rows))
        stacks = [
            Stack(group, normalise, X.shape[1], len(self.classes_), self.momentum, size, place)
            for normalise, group in groups
            if group
        ]
        targets = send(torch.from_numpy(codes), place)
        per_epoch = -(-len(rows) // size)
        epochs = max(self.epochs, -(-self.min_steps // per_epoch))
        step = 0
        for epoch in range(epochs):
            order = torch.randperm(len(rows), generator=torch_generator(self.seed, "linear", epoch)).numpy()
            shuffled = rows[order]
            at = send(torch.from_numpy(shuffled), place)
            for start in range(0, len(rows), size):
                part = slice(start, start + size)
                block, target = picked(X, shuffled[part], at[part]), targets[at[part]]
                decay = 0.5 * (1 + math.cos(math.pi * step / (epochs * per_epoch)))
                for stack in stacks:
                    stack.step(scaling.apply(block, stack.normalise), target, decay)
                step += 1
        return [stack.weights() for stack in stacks], scaling

    def _judge(
        self,
        weights: list[Tensor],
        scaling: Scaling,
        X: Features | Tensor,
        codes: Rows,
        rows: Rows,
        heads: list[Head],
        place: torch.device,
    ) -> list[Head]:
        """The heads with their accuracy and loss, over these rows and those of the folds before."""
        order = [head for normalise in NORMALISATIONS for head in heads if head.normalise == normalise]
        names = [normalise for normalise in NORMALISATIONS if any(h.normalise == normalise for h in heads)]
        right, loss = torch.zeros(2, len(heads), dtype=torch.float64, device=place)
        for start in range(0, len(rows), 1024):
            part = rows[start : start + 1024]
            block = picked(X, part, send(torch.from_numpy(part), place))
            target = send(torch.from_numpy(codes[part]), place)
            first = 0
            for normalise, weight in zip(names, weights, strict=True):
                for w in weight:  # one head at a time: the logits of all would need much memory
                    logits = F.linear(scaling.apply(block, normalise), w[:, :-1], w[:, -1])
                    right[first] += (logits.argmax(1) == target).sum()
                    loss[first] += F.cross_entropy(logits, target, reduction="sum")
                    first += 1
        return [
            _joined(h, r / len(rows), v / len(rows) if math.isfinite(v) else math.inf)
            for h, r, v in zip(order, right.tolist(), loss.tolist(), strict=True)
        ]

    def _heads(self) -> list[Head]:
        rates, decays = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (self.lr, self.weight_decay))
        names = [self.normalise] if isinstance(self.normalise, str) else list(self.normalise)
        if not len(rates) or not (rates > 0).all():
            raise InputError(f"LinearProbe: lr must be above 0, not {self.lr!r}.")
        if not len(decays) or not (decays >= 0).all():
            raise InputError(f"LinearProbe: weight_decay must be 0 or more, not {self.weight_decay!r}.")
        if not 0 < self.held_out < 1:
            raise InputError(f"LinearProbe: held_out must lie between 0 and 1, not {self.held_out!r}.")
        unknown = [str(name) for name in names if name not in NORMALISATIONS]
        if unknown or not names:
            hint = nearest("".join(unknown[:1]), NORMALISATIONS)
            raise InputError(f"LinearProbe: normalise cannot be {self.normalise!r}.{hint}")
        for count in ("epochs", "batch_size"):
            if getattr(self, count) < 1:
                raise InputError(f"LinearProbe: {count} must be at least 1, not {getattr(self, count)!r}.")
        return [Head(float(r), float(d), n) for n in NORMALISATIONS if n in names for d in decays for r in rates]


def _once(X: Features, place: torch.device) -> tuple[Features, torch.device]:
    """Features that were read, and checked, where they are used if they fit there; larger ones are read by batch."""
    if len(X) * X.shape[1] * 4 <= BYTES_IN_MEMORY:
        rows = take(X, slice(0, len(X)), place)
        return rows, rows.device
    if isinstance(X, Tensor):
        check_finite(X)
    return X, place


def _joined(head: Head, accuracy: float, loss: float) -> Head:
    """``head`` with what it reached in one more fold; all folds are of one size, to a row."""
    n = len(head.folds)
    if n:
        mean_accuracy, mean_loss = (n * head.accuracy + accuracy) / (n + 1), (n * head.loss + loss) / (n + 1)
    else:
        mean_accuracy, mean_loss = accuracy, loss
    return replace(head, accuracy=mean_accuracy, loss=mean_loss, folds=(*head.folds, accuracy))
