"""TEEN: prototypes of new classes, learned from a few rows, lean on those of the classes that had many."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from unlabeled.probes.arrays import InputError, Labels, encode
from unlabeled.probes.closed_form import ClosedFormProbe


class TEENProbe(ClosedFormProbe):
    """Nearest class mean by cosine, with fused prototypes for few-shot classes (Wang et al. 2023, Eqs. 5-7).

    The classes of the first call of ``fit`` or ``partial_fit`` are the base. A class that comes later has the prototype
    ``α μ_n + (1 - α) Σ_b w_b μ_b`` with ``w = softmax_b(τ cos(μ_b, μ_n))`` over the base classes.

    Args:
        alpha: α in [0, 1]; 1 is the plain nearest class mean.
        temperature: τ > 0.
        device: where to compute; default: where the features lie.

    >>> probe = TEENProbe(alpha=0.5).fit([[1.0, 0.0], [0.0, 1.0]], [0, 1]).partial_fit([[1.0, 1.0]], [2])
    >>> probe.prototypes()[2].tolist()  # alike to both base classes: half itself, half their mean
    [0.75, 0.75]
    """

    title = "TEEN"
    square = False
    base_: Labels

    def __init__(self, alpha: float = 0.5, temperature: float = 16.0, device: str | None = None) -> None:
        self.alpha = alpha
        self.temperature = temperature
        self.device = device

    def fit(self, X: Any, y: Any = None) -> TEENProbe:
        """Learn the base classes, forgetting all before."""
        super().fit(X, y)
        self.base_ = self.classes_
        return self

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None) -> TEENProbe:
        """Learn more rows; classes that were not in the first call are new ones."""
        super().partial_fit(X, y, classes)
        if not hasattr(self, "base_"):
            self.base_ = self.classes_
        return self

    def prototypes(self) -> Tensor:
        """(C, D) float64, in the order of ``classes_``."""
        means = self.statistics_.means
        old = encode(self.classes_, self.base_) >= 0
        if old.all() or not old.any():
            return means
        base, new = means[old.nonzero()[0]], means[(~old).nonzero()[0]]
        weight = (self.temperature * F.normalize(new, dim=1) @ F.normalize(base, dim=1).T).softmax(1)
        fused = means.clone()
        fused[np.flatnonzero(~old)] = self.alpha * new + (1 - self.alpha) * weight @ base
        return fused

    def _solve(self) -> tuple[Tensor, Tensor, Tensor]:
        prototypes = F.normalize(self.prototypes(), dim=1)
        return prototypes, prototypes.new_zeros(len(prototypes)), prototypes.new_zeros(prototypes.shape[1])

    def linear(self) -> tuple[Tensor, Tensor]:
        raise InputError("TEENProbe: a cosine is not a linear function; use NearestMeanProbe.")

    def _scores(self, block: Tensor) -> Tensor:
        return super()._scores(F.normalize(block, dim=1))

    def _check_parameters(self) -> None:
        if not 0 <= self.alpha <= 1 or self.temperature <= 0:
            raise InputError(
                f"TEENProbe: alpha must be in [0, 1] and temperature above 0, not {self.alpha!r}, {self.temperature!r}."
            )
