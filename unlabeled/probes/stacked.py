"""Stacked heads: SGD of many linear classifiers on the same batches, and the scaling of the features before them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.probes.arrays import Features, Rows, picked

Normalise = Literal["none", "l2", "scale", "standard"]
SCALING_ROWS = 256
EPS = 1e-6  # of the standardisation, MAE's BatchNorm1d


@dataclass(frozen=True)
class Head:
    """One setting of the sweep, and what it reached on held-out training rows, of several folds also in each."""

    lr: float
    weight_decay: float
    normalise: Normalise
    accuracy: float = math.nan
    loss: float = math.nan
    folds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each feature over the training rows."""

    mean: Tensor
    std: Tensor

    def apply(self, block: Tensor, normalise: str) -> Tensor:
        """Normalise (B, D) rows.

        ``"l2"``: to unit length; ``"scale"``: each feature to mean 0, all by one number to mean variance 1;
        ``"standard"``: each feature to mean 0 and variance 1.
        """
        if normalise == "l2":
            return F.normalize(block, dim=1)
        if normalise == "scale":
            return (block - self.mean) / self.std.square().mean().sqrt()
        return (block - self.mean) / self.std if normalise == "standard" else block


class Stack:
    """H heads as the columns of one (D + 1, H·C) matrix; the gradient of softmax regression needs no autograd.

    Rows of the last index are biases, fed by a column of ones. A step is two matrix products, one fused softmax and one
    pass over the weights, all in buffers made once: at 13 heads of 100 classes the products take 85 % of its time.
    """

    def __init__(
        self,
        heads: list[Head],
        normalise: str,
        dim: int,
        classes: int,
        momentum: float,
        rows: int,
        device: torch.device,
    ) -> None:
        self.normalise, self.momentum, self.shape = normalise, momentum, (len(heads), classes)
        self.weight = torch.zeros(dim + 1, len(heads) * classes, device=device)
        self.velocity = torch.zeros_like(self.weight)
        self.lr = send(torch.tensor([h.lr for h in heads]), device).repeat_interleave(classes)
        decay = send(torch.tensor([h.weight_decay for h in heads]), device).repeat_interleave(classes)
        self.decay = decay if any(h.weight_decay for h in heads) else None
        self.first = torch.arange(len(heads), device=device) * classes
        self.rows = torch.arange(rows, device=device).unsqueeze(1)
        self.x = torch.ones(rows, dim + 1, device=device)
        self.logits, self.error = torch.empty(2, rows, len(heads) * classes, device=device)

    def step(self, x: Tensor, target: Tensor, schedule: float) -> None:
        """One SGD step of every head on the same normalised batch: v ← mv + g + λw, w ← w - lr·v."""
        n = len(x)
        self.x[:n, :-1] = x
        x, logits, error = self.x[:n], self.logits[:n], self.error[:n]
        torch.mm(x, self.weight, out=logits)
        torch.softmax(logits.view(n, *self.shape), 2, out=error.view(n, *self.shape))
        # Nothing beside the largest share; denormals, which would slow the next product tenfold, begin at 1e-38.
        error.clamp_min_(1e-26)
        error[self.rows[:n], self.first + target.unsqueeze(1)] -= 1
        # The product adds the mean gradient straight onto the decayed velocity: no buffer, two passes fewer.
        self.velocity.addmm_(x.T, error, beta=self.momentum, alpha=1 / n)
        if self.decay is not None:
            self.velocity[:-1].addcmul_(self.weight[:-1], self.decay)
        self.weight.addcmul_(self.velocity, self.lr, value=-schedule)

    def weights(self) -> Tensor:
        """(H, C, D + 1)."""
        return self.weight.view(len(self.weight), *self.shape).permute(1, 2, 0).contiguous()


def scaling_of(X: Features | Tensor, rows: Rows, place: torch.device) -> Scaling:
    """Mean and deviation over some rows, from one sweep of shifted float64 sums in blocks that stay in cache."""
    shift = torch.zeros(X.shape[1], dtype=torch.float64, device=place)
    total, square = torch.zeros(2, X.shape[1], dtype=torch.float64, device=place)
    at = send(torch.from_numpy(rows), place)
    for start in range(0, len(rows), SCALING_ROWS):
        part = slice(start, start + SCALING_ROWS)
        block = picked(X, rows[part], at[part]).double()
        if not start:
            shift = block.mean(0)
        block -= shift
        total += block.sum(0)
        square += block.square_().sum(0)
    mean = total / len(rows)
    variance = (square / len(rows) - mean.square()).clamp_min(0)
    return Scaling((mean + shift).float(), (variance + EPS).sqrt().float())
