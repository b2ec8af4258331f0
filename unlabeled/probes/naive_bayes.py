"""Gaussian naive Bayes from sums, which are added to and taken from exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from unlabeled.probes.arrays import Features, InputError, Labels, blocks, check_finite
from unlabeled.probes.base import SoftmaxProbe, class_codes
from unlabeled.probes.closed_form import ClosedFormProbe
from unlabeled.probes.statistics import Statistics


class NaiveBayesProbe(SoftmaxProbe, ClosedFormProbe):
    """Each feature is Gaussian within each class, independent of the others; classes weigh as often as they were seen.

    The scores are log p(x, c), as scikit-learn's ``GaussianNB``. What is kept are the counts and the exact sums of x
    and of x², so that ``forget`` leaves the model of the remaining rows.

    Args:
        smoothing: of the largest variance of a feature over all rows, added to every variance.
        device: where to compute; default: where the features lie.

    >>> NaiveBayesProbe().fit([[0.0], [1.0], [8.0], [9.0]], ["a", "a", "b", "b"]).predict([[7.0]])
    array(['b'], dtype='<U1')
    """

    title = "naive Bayes"
    square = False
    origin_: Tensor

    def __init__(self, smoothing: float = 1e-9, device: str | None = None) -> None:
        self.smoothing = smoothing
        self.device = device

    def fit(self, X: Any, y: Any = None) -> NaiveBayesProbe:
        """Learn (N, D) features and (N,) labels, forgetting all before."""
        features, labels, place = self._fit_inputs(X, y)
        return self._learn(features, labels, place, first=True)

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None) -> NaiveBayesProbe:
        """Learn more rows. New classes may appear at any time; ``classes`` is there for scikit-learn's callers only."""
        first = not hasattr(self, "statistics_")
        features, labels, place = self._fit_inputs(X, y, reset=first)
        return self._learn(features, labels, place, first=first)

    def _learn(self, features: Features, labels: Labels, place: torch.device, first: bool) -> NaiveBayesProbe:
        check_finite(features)  # rows that cannot be used leave all as it was
        class_codes(labels)
        if first:
            # squares of distances to a row that is like the others lose no digits to an offset that all share
            self.origin_ = next(blocks(features, place, torch.float64))[1].mean(0)
            self.statistics_ = Statistics(2 * self.n_features_in_, second=False, device=place)
        for part, block in blocks(features, place, torch.float64):
            self.statistics_.add(self._with_squares(block), labels[part])
        return self

    def forget(self, X: Any, y: Any = None) -> NaiveBayesProbe:
        """Take out rows learned before: the exact inverse of ``partial_fit``. A class without rows disappears."""
        check_is_fitted(self)
        features, labels, place = self._fit_inputs(X, y, reset=False)
        check_finite(features)
        self.statistics_.check_learned(labels)
        for part, block in blocks(features, place, torch.float64):
            self.statistics_.remove(self._with_squares(block), labels[part])
        return self

    def from_statistics(self, statistics: Statistics) -> ClosedFormProbe:
        raise InputError("NaiveBayesProbe sums squares of features and cannot share other probes' sums; fit it.")

    def linear(self) -> tuple[Tensor, Tensor]:
        raise InputError("NaiveBayesProbe: its scores are no linear function; use LDAProbe.")

    def _with_squares(self, block: Tensor) -> Tensor:
        apart = block - self.origin_.to(block.device)
        return torch.cat([apart, apart.square()], dim=1)

    def _solve(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means (C, D) and variances (C, D) around the origin, log frequencies (C,)."""
        if self.smoothing < 0:
            raise InputError(f"NaiveBayesProbe: smoothing must not be negative, not {self.smoothing!r}.")
        sums, d = self.statistics_, self.n_features_in_
        means, squares = sums.means[:, :d], sums.means[:, d:]
        of_all = sums.mean
        spread = float((of_all[d:] - of_all[:d].square()).clamp_min(0).max())
        floor = max(self.smoothing * spread, float(np.finfo(np.float64).tiny))
        variance = (squares - means.square()).clamp_min(0) + floor
        return means, variance, (sums.count.double() / sums.n).log()

    def _scores(self, block: Tensor) -> Tensor:
        means, variance, prior = self._solution()
        apart = block.double() - self.origin_.to(block.device)
        # Σ (x - μ)²/σ² as three products instead of a (B, C, D) difference
        precision = variance.reciprocal()
        quadratic = (
            apart.square() @ precision.T - 2 * apart @ (means * precision).T + (means.square() * precision).sum(1)
        )
        scores: Tensor = prior - 0.5 * (quadratic + (2 * torch.pi * variance).log().sum(1))
        return scores
