"""INLP: the directions of linear classifiers are projected out, one round after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from unlabeled.data.rows import held_out
from unlabeled.probes.arrays import InputError, blocks, device_of, like, take
from unlabeled.probes.base import OnFeatures, at_least_two, class_codes
from unlabeled.probes.logistic import LogisticProbe


class INLP(TransformerMixin, OnFeatures):  # type: ignore[misc]  # scikit-learn ships no types
    """Iterative null-space projection (Ravfogel et al. 2020, Algorithm 1), until the concept is no longer readable.

    Each round fits a logistic regression on what is left, and removes the directions that its logits depend on. It
    ends when the accuracy on held-out rows is at most ``margin`` above that of always saying the commonest class.

    Args:
        max_rounds: no more rounds than these.
        margin: of accuracy, in [0, 1].
        penalty: of the logistic regression.
        held_out: share of the rows that the accuracy is read on.
        seed: of that share.
        device: where to compute; default: where the features lie.

    Attributes:
        rounds_: classifiers that were projected out.
        accuracies_: held-out accuracy before the first round and after each.
        chance_: held-out share of the commonest class.
        readable_: whether the concept still was after ``max_rounds``.
        projection_: (D, D) float64, symmetric.
    """

    rounds_: int
    accuracies_: tuple[float, ...]
    chance_: float
    readable_: bool
    projection_: Tensor

    def __init__(
        self,
        max_rounds: int = 50,
        margin: float = 0.02,
        penalty: float = 1e-3,
        held_out: float = 0.3,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        self.max_rounds = max_rounds
        self.margin = margin
        self.penalty = penalty
        self.held_out = held_out
        self.seed = seed
        self.device = device

    def fit(self, X: Any, y: Any = None) -> INLP:
        """Learn what to erase from (N, D) features and (N,) values of the concept.

        Raises:
            InputError: features or labels that cannot be used, fewer than two classes.
        """
        if self.max_rounds < 0 or not 0 <= self.margin <= 1:
            raise InputError(
                f"INLP: max_rounds must not be negative and margin be in [0, 1]: {self.max_rounds!r}, {self.margin!r}."
            )
        features, labels, place = self._fit_inputs(X, y)
        classes, codes = class_codes(labels)
        at_least_two(classes, "INLP")
        kept, held = held_out(codes, self.held_out, self.seed, "inlp")
        held = held if len(held) else kept
        rows = {"fit": kept, "read": held}
        self.chance_ = float((codes[held] == np.bincount(codes[kept]).argmax()).mean())
        removed = torch.zeros(self.n_features_in_, 0, dtype=torch.float64, device=place)
        accuracies: list[float] = []
        while True:
            left = {name: _without(take(features, part, place, torch.float64), removed) for name, part in rows.items()}
            probe = LogisticProbe(penalty=self.penalty, device=self.device).fit(left["fit"], codes[kept])
            accuracies.append(probe.score(left["read"], codes[held]))
            self.readable_ = accuracies[-1] > self.chance_ + self.margin
            if not self.readable_ or len(accuracies) > self.max_rounds or removed.shape[1] == self.n_features_in_:
                break
            removed = _joined(removed, probe.coef_.double().to(place))
        self.accuracies_, self.rounds_ = tuple(accuracies), len(accuracies) - 1
        self.projection_ = torch.eye(self.n_features_in_, dtype=torch.float64, device=place) - removed @ removed.T
        return self

    def transform(self, X: Any) -> Any:
        """(N, D) features without the concept, in float64."""
        check_is_fitted(self)
        features = self._inputs(X)
        place = device_of(features, self.device)
        parts = [block @ self.projection_.to(block.device) for _, block in blocks(features, place, torch.float64)]
        return like(torch.cat(parts), X)


def _without(rows: Tensor, removed: Tensor) -> Tensor:
    return rows - rows @ removed @ removed.T


def _joined(removed: Tensor, weight: Tensor) -> Tensor:
    """An orthonormal basis (D, R) of the removed directions and those that differences of logits depend on."""
    new = _without(weight - weight.mean(0), removed)
    _, size, right = torch.linalg.svd(new, full_matrices=False)
    basis: Tensor = torch.linalg.qr(torch.cat([removed, right[size > 1e-7 * size[0]].T], dim=1)).Q
    return basis
