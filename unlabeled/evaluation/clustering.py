"""Clusters without labels: k-means by faiss, how well clusters match classes, how many classes there seem to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.base import ClusterMixin
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils.validation import check_is_fitted

from unlabeled.core.extras import extra
from unlabeled.core.rng import derive, numpy_generator
from unlabeled.probes.arrays import InputError, Labels, as_features, as_labels, blocks
from unlabeled.probes.base import OnFeatures

CPU = torch.device("cpu")
Floats = np.ndarray[Any, np.dtype[np.float32]]


def _rows(X: Any) -> Floats:
    return np.concatenate([block.numpy() for _, block in blocks(as_features(X), CPU)])


class KMeans(ClusterMixin, OnFeatures):  # type: ignore[misc]  # scikit-learn ships no types
    """k-means (Lloyd 1982) as faiss computes it, the best of several starts.

    Args:
        n_clusters: k.
        normalise: clusters of l2-normalised rows (spherical k-means).
        n_init: starts, each from rows drawn by ``seed``.
        max_iter: steps of each.
        seed: of the starts.

    Attributes:
        cluster_centers_: (k, D) float32.
        labels_: (N,) cluster of each training row.
        inertia_: sum of squared distances to the nearest centre.
        n_iter_: steps of each start; faiss makes them all.

    >>> KMeans(2, normalise=False).fit([[0.0], [0.1], [9.0], [9.1]]).inertia_ < 0.011
    True
    """

    cluster_centers_: Floats
    labels_: Labels
    inertia_: float
    n_iter_: int

    def __init__(
        self, n_clusters: int = 8, normalise: bool = False, n_init: int = 5, max_iter: int = 50, seed: int = 0
    ) -> None:
        self.n_clusters = n_clusters
        self.normalise = normalise
        self.n_init = n_init
        self.max_iter = max_iter
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> KMeans:
        """Find the centres of (N, D) features; ``y`` is not read.

        Raises:
            InputError: fewer rows than clusters, or features that cannot be used.
        """
        faiss: Any = extra("faiss", "faiss", "KMeans")
        rows = self._read(self._inputs(X, reset=True))
        if not 1 <= self.n_clusters <= len(rows):
            raise InputError(f"KMeans: n_clusters={self.n_clusters} must be between 1 and the n_samples={len(rows)}.")
        best = np.inf
        for start in range(self.n_init):
            found = faiss.Kmeans(
                rows.shape[1], self.n_clusters, niter=self.max_iter, spherical=self.normalise,
                seed=derive(self.seed, "k-means", start) % (1 << 31), min_points_per_centroid=1,
                max_points_per_centroid=max(1, len(rows)),
            )  # fmt: skip
            found.train(rows)
            centres = np.array(found.centroids, dtype=np.float32)
            distance, nearest = _nearest(rows, centres)
            if float(distance.sum()) < best:
                best = float(distance.sum())
                self.cluster_centers_, self.labels_ = centres, nearest
        self.inertia_, self.n_iter_ = best, self.max_iter
        return self

    def predict(self, X: Any) -> Labels:
        """The nearest centre of each row, (N,)."""
        check_is_fitted(self)
        return _nearest(self._read(self._inputs(X)), self.cluster_centers_)[1]

    def _read(self, X: Any) -> Floats:
        rows = _rows(X)
        if self.normalise:
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return np.ascontiguousarray(rows)


def _nearest(rows: Floats, centres: Floats) -> tuple[Floats, Labels]:
    from sklearn.metrics import pairwise_distances_argmin_min

    nearest, distance = pairwise_distances_argmin_min(rows, centres)
    return np.square(distance), nearest.astype(np.int32)


def agreement(clusters: Any, y: Any) -> dict[str, float]:
    """How well clusters match classes: ``nmi`` (arithmetic mean), ``ari``, and ``accuracy`` under the best matching.

    The matching is one to one (Hungarian method; Xie et al. 2016, Eq. 10): rows of clusters left without a class
    count as wrong, as do rows that a clustering calls noise (-1).

    >>> agreement([1, 1, 0, 0], ["a", "a", "b", "c"])["accuracy"]
    0.75
    """
    found = np.asarray(clusters)
    labels = as_labels(y, len(found))
    counts = contingency_matrix(labels, found)
    groups = np.unique(found)
    matched = counts[:, groups != -1]
    rows, columns = linear_sum_assignment(matched, maximize=True)
    return {
        "nmi": float(normalized_mutual_info_score(labels, found)),
        "ari": float(adjusted_rand_score(labels, found)),
        "accuracy": float(matched[rows, columns].sum() / len(found)),
    }


def density_clusters(X: Any, min_cluster_size: int = 15) -> Labels:
    """Clusters by HDBSCAN (Campello et al. 2013, scikit-learn's), which finds their number itself; -1 is noise."""
    from sklearn.cluster import HDBSCAN

    found: Labels = HDBSCAN(min_cluster_size=min_cluster_size, copy=True).fit_predict(_rows(X))
    return found


def number_of_classes(X: Any, candidates: Sequence[int], *, max_rows: int = 2000, seed: int = 0) -> int:
    """The number of k-means clusters with the largest mean silhouette (Rousseeuw 1987), among ``candidates``.

    Args:
        X: (N, D) features.
        candidates: numbers to try, each at least 2.
        max_rows: the silhouette is measured on so many rows, drawn by ``seed``.
        seed: of the draw and of k-means.

    >>> number_of_classes([[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]], [2, 3, 4])
    3
    """
    rows = _rows(X)
    if not candidates or min(candidates) < 2 or max(candidates) >= len(rows):
        raise InputError(f"candidates must lie between 2 and the rows less one, not {list(candidates)}.")
    if len(rows) > max_rows:
        rows = rows[np.sort(numpy_generator(seed, "silhouette").permutation(len(rows))[:max_rows])]

    def silhouette(k: int) -> float:
        labels = KMeans(k, n_init=3, seed=seed).fit(rows).labels_
        return float(silhouette_score(rows, labels)) if len(np.unique(labels)) > 1 else -1.0

    return max(candidates, key=silhouette)
