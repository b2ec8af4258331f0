"""The attentive probe: learned queries look where in an image the answer is, then one linear layer.

Pooling by learned queries (Lee et al. 2019, "Set Transformer", Sec. 3.2; as a probe: Chen et al. 2024, "Context
autoencoder", Sec. 4), without projections: that of the keys is part of the queries, that of the values of the layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.core.rng import torch_generator
from unlabeled.data.rows import splits_to_choose
from unlabeled.probes.arrays import Features, InputError, Rows, blocks, picked
from unlabeled.probes.base import SoftmaxProbe, at_least_two, class_codes

EPS = 1e-6  # of the standardisation


class AttentiveProbe(SoftmaxProbe):
    """Softmax regression on tokens that ``queries`` attention maps pool: A = softmax(Q Xᵀ/√D), features = A X.

    Rows hold all tokens of an image channel by channel, as ``Backbone(model, pool="flat")`` gives them: D·T values.
    Each channel is standardised over the training rows. AdamW with a cosine schedule trains queries and layer; the
    learning rate is chosen on a stratified part of the training rows, then all of them are trained on. With one token
    it is a linear probe.

    Args:
        tokens: T, tokens of an image.
        queries: attention maps.
        lr: learning rates to try.
        weight_decay: of AdamW, on all weights but the biases.
        epochs: passes over the rows; fewer than ``min_steps`` steps are stretched to as many.
        batch_size: rows a step.
        min_steps: so that small data sets converge too.
        held_out: share of the training rows that chooses the learning rate.
        seed: of the split, the start and the order of the rows.
        device: where to compute; default: where the features lie.

    Attributes:
        best_: the chosen learning rate.
        query_: (Q, D); coef_: (C, Q·D); intercept_: (C,), on standardised tokens.
    """

    title = "attentive"
    best_: float
    query_: Tensor
    coef_: Tensor
    intercept_: Tensor
    mean_: Tensor
    std_: Tensor

    def __init__(
        self,
        tokens: int = 1,
        queries: int = 4,
        lr: float | Sequence[float] = (1e-3, 3e-3, 1e-2),
        weight_decay: float = 1e-2,
        epochs: int = 30,
        batch_size: int = 256,
        min_steps: int = 300,
        held_out: float = 0.2,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        self.tokens = tokens
        self.queries = queries
        self.lr = lr
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.min_steps = min_steps
        self.held_out = held_out
        self.seed = seed
        self.device = device

    def fit(self, X: Any, y: Any = None) -> AttentiveProbe:
        """Choose a learning rate on a held-out part of (N, D·T) features with (N,) labels, then train on all rows.

        Raises:
            InputError: features or labels that cannot be used, fewer than two classes, or a bad parameter.
        """
        rates = sorted(np.atleast_1d(np.asarray(self.lr, dtype=float)).tolist())
        for name in ("tokens", "queries", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"AttentiveProbe: {name} must be at least 1, not {getattr(self, name)!r}.")
        if not rates or rates[0] <= 0:
            raise InputError(f"AttentiveProbe: lr must be above 0, not {self.lr!r}.")
        features, labels, place = self._fit_inputs(X, y)
        if features.shape[1] % self.tokens:
            raise InputError(f"AttentiveProbe: {features.shape[1]} features are no {self.tokens} tokens of one size.")
        self.classes_, codes = class_codes(labels)
        at_least_two(self.classes_, "AttentiveProbe")
        self.mean_, self.std_ = self._channels(features, place)
        splits = splits_to_choose(codes, self.held_out, self.seed, "attentive")[:1] if len(rates) > 1 else []
        self.best_ = rates[len(rates) // 2]
        for kept, held in splits:
            losses = [self._train(features, codes, kept, rate, place)._loss(features, codes, held) for rate in rates]
            self.best_ = rates[int(np.argmin(losses))]
        return self._train(features, codes, np.arange(len(codes)), self.best_, place)

    def chosen(self) -> dict[str, Any]:
        return {"lr": self.best_, "queries": self.queries, "tokens": self.tokens}

    def _scores(self, block: Tensor) -> Tensor:
        return F.linear(self._pooled(block, self.query_.to(block)), self.coef_.to(block), self.intercept_.to(block))

    def _pooled(self, block: Tensor, query: Tensor) -> Tensor:
        """(B, D·T) rows to (B, Q·D): tokens, standardised and averaged as each query looks at them."""
        x = block.view(len(block), -1, self.tokens)
        x = (x - self.mean_.to(x)[:, None]) / self.std_.to(x)[:, None]
        look = (query @ x / math.sqrt(x.shape[1])).softmax(2)
        return (look @ x.transpose(1, 2)).flatten(1)

    def _channels(self, X: Features, place: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and deviation (D,) of each channel over all tokens of all rows."""
        total, square = torch.zeros(2, X.shape[1] // self.tokens, dtype=torch.float64, device=place)
        for _, block in blocks(X, place, torch.float64):
            tokens = block.view(len(block), -1, self.tokens)
            total += tokens.sum((0, 2))
            square += tokens.square().sum((0, 2))
        mean = total / (len(X) * self.tokens)
        return mean.float(), ((square / (len(X) * self.tokens) - mean.square()).clamp_min(0) + EPS).sqrt().float()

    @torch.enable_grad()
    def _train(self, X: Features, codes: Rows, rows: Rows, rate: float, place: torch.device) -> AttentiveProbe:
        dim, classes = X.shape[1] // self.tokens, len(self.classes_)
        start = torch.randn(self.queries, dim, generator=torch_generator(self.seed, "attentive", "queries"))
        query = send(0.02 * start, place).requires_grad_()
        weight = torch.zeros(classes, self.queries * dim, device=place, requires_grad=True)
        bias = torch.zeros(classes, device=place, requires_grad=True)
        decayed = [
            {"params": [query, weight], "weight_decay": self.weight_decay},
            {"params": [bias], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(decayed, lr=rate)
        size = min(self.batch_size, len(rows))
        per_epoch = -(-len(rows) // size)
        epochs = max(self.epochs, -(-self.min_steps // per_epoch))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * per_epoch)
        targets = send(torch.from_numpy(codes), place)
        for epoch in range(epochs):
            order = torch.randperm(len(rows), generator=torch_generator(self.seed, "attentive", epoch)).numpy()
            shuffled = rows[order]
            at = send(torch.from_numpy(shuffled), place)
            for first in range(0, len(rows), size):
                part = slice(first, first + size)
                logits = F.linear(self._pooled(picked(X, shuffled[part], at[part]), query), weight, bias)
                optimizer.zero_grad()
                torch.autograd.backward(F.cross_entropy(logits, targets[at[part]]))
                optimizer.step()
                schedule.step()
        self.query_, self.coef_, self.intercept_ = query.detach(), weight.detach(), bias.detach()
        return self

    def _loss(self, X: Features, codes: Rows, rows: Rows) -> float:
        """Mean cross-entropy of some rows."""
        total = torch.zeros((), device=self.coef_.device)
        for first in range(0, len(rows), self.batch_size):
            part = rows[first : first + self.batch_size]
            at = send(torch.from_numpy(part), self.coef_.device)
            scores = self._scores(picked(X, part, at))
            target = send(torch.from_numpy(codes[part]), self.coef_.device)
            total += F.cross_entropy(scores, target, reduction="sum")
        return float(total) / len(rows)
