"""LEACE: the smallest change of the features after which no linear classifier reads a concept from them."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from unlabeled.probes.arrays import blocks, device_of, like
from unlabeled.probes.base import OnFeatures
from unlabeled.probes.statistics import Statistics


class LEACE(TransformerMixin, OnFeatures):  # type: ignore[misc]  # scikit-learn ships no types
    """x ↦ x - W⁺ P W (x - E[x]) with W = Σ_xx^{-1/2} and P onto the columns of W Σ_xz (Belrose et al. 2023, Eq. 1).

    Afterwards all classes of the concept have the same mean, which is what linear classifiers of any convex loss
    need to do no better than a constant (Theorem 3.1), and no affine map that does so moves the features less.

    Args:
        device: where to compute; default: where the features lie.

    Attributes:
        rank_: dimensions that were erased, at most the classes less one.
        mean_: (D,) float64 mean of the training rows.
        projection_: (D, D) float64 matrix A: rows become ``x - A (x - mean_)``.

    >>> LEACE().fit_transform([[1.0, 0.0], [2.0, 1.0], [-1.0, 0.0], [-2.0, 1.0]], [0, 0, 1, 1])[:, 1]
    array([0., 1., 0., 1.])
    """

    rank_: int
    mean_: Tensor
    projection_: Tensor

    def __init__(self, device: str | None = None) -> None:
        self.device = device

    def fit(self, X: Any, y: Any = None) -> LEACE:
        """Learn what to erase from (N, D) features and (N,) values of the concept.

        Raises:
            InputError: features or labels that cannot be used.
        """
        features, labels, place = self._fit_inputs(X, y)
        sums = Statistics(self.n_features_in_, device=place)
        sums.add(features, labels)
        values, vectors = torch.linalg.eigh(sums.around_mean() / sums.n)
        kept = values > values[-1].clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
        whiten = torch.where(kept, values.rsqrt(), 0).unsqueeze(1) * vectors.T
        colour = vectors * torch.where(kept, values.sqrt(), 0)
        # the columns of Σ_xz for one-hot z are n_c/n (μ_c - μ)
        cross = whiten @ (sums.apart() * (sums.count.double() / sums.n).unsqueeze(1)).T
        left, size, _ = torch.linalg.svd(cross, full_matrices=False)
        # of unit variance: what is smaller is rounding
        left = left[:, size > 1e-9 * max(1.0, float(size[0]))]
        self.rank_ = left.shape[1]
        self.mean_, self.projection_ = sums.mean, colour @ left @ left.T @ whiten
        return self

    def transform(self, X: Any) -> Any:
        """(N, D) features without the concept, in float64."""
        check_is_fitted(self)
        features = self._inputs(X)
        parts = []
        for _, block in blocks(features, device_of(features, self.device), torch.float64):
            parts.append(block - (block - self.mean_.to(block.device)) @ self.projection_.T.to(block.device))
        return like(torch.cat(parts), X)
