"""Retrieval by nearest neighbours: mean average precision, recall at k, R-precision, and near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlabeled.probes.arrays import InputError, all_rows, as_features, as_labels, device_of
from unlabeled.probes.search import search

BLOCK_VALUES = 1 << 23  # similarities held at once: 32 MB


def _unit(X: Any) -> Tensor:
    return torch.nn.functional.normalize(all_rows(X), dim=1)


def retrieval(
    X: Any, y: Any, gallery: Any = None, gallery_labels: Any = None, *, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Rank a gallery by cosine similarity for each query; rows of the query's class are what it asks for.

    Args:
        X, y: (N, D) queries and their labels.
        gallery, gallery_labels: (M, D) and (M,); default: the other queries.
        ks: of the recalls.

    Returns:
        ``map``: mean over queries of the average precision of the whole ranking; ``r_precision``: mean share of right
        rows among the first R, with R the right rows there are; ``recall@k``: share of the queries with a right row
        among the first k (as in metric learning). Queries without any right row in the gallery are left out.

    Raises:
        InputError: labels that do not fit, or no query with a right row.

    >>> retrieval([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], [0, 0, 1, 1])["map"]
    1.0
    """
    found = per_query(X, y, gallery, gallery_labels, ks=ks)
    return {name: float(np.mean(values)) for name, values in found.items()}


def per_query(
    X: Any, y: Any, gallery: Any = None, gallery_labels: Any = None, *, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, list[float]]:
    """What :func:`retrieval` averages: a figure a query, in the order of those that have a right row in the gallery."""
    queries, itself = _unit(X), gallery is None
    bank = queries if itself else _unit(gallery).to(queries.device)
    if bank.shape[1] != queries.shape[1]:
        raise InputError(f"queries have {queries.shape[1]} features, the gallery {bank.shape[1]}; use one space.")
    asked = as_labels(y, len(queries))
    held = asked if itself else as_labels(gallery_labels, len(bank))
    found: dict[str, list[float]] = {"map": [], "r_precision": [], **{f"recall@{k}": [] for k in ks}}
    size = len(bank) - itself
    place = torch.arange(1, size + 1, device=queries.device, dtype=torch.float64)
    step = max(1, BLOCK_VALUES // len(bank))
    for start in range(0, len(queries), step):
        part = slice(start, min(start + step, len(queries)))
        similar = queries[part] @ bank.T
        if itself:  # a query is not in its own gallery
            similar[torch.arange(len(similar)), torch.arange(part.start, part.stop)] = -torch.inf
        order = similar.argsort(dim=1, descending=True, stable=True)[:, :size]
        right = torch.from_numpy(held[order.cpu().numpy()] == asked[part, None]).to(queries.device)
        total = right.sum(1)
        right, total = right[total > 0], total[total > 0]
        hits = right.cumsum(1)
        found["map"] += ((hits / place * right).sum(1) / total).tolist()
        found["r_precision"] += (hits.gather(1, total[:, None] - 1).squeeze(1) / total).tolist()
        for k in ks:
            found[f"recall@{k}"] += right[:, :k].any(1).double().tolist()
    if not found["map"]:
        raise InputError("retrieval needs a class with two rows, or a gallery that holds a query's class.")
    return found


def duplicates(X: Any, threshold: float = 0.99, *, k: int = 10) -> list[tuple[int, int, float]]:
    """Pairs of rows (i < j) with a cosine similarity of at least ``threshold``, the most similar first.

    Args:
        X: (N, D) features.
        threshold: in [-1, 1].
        k: so many neighbours of each row are looked at.

    >>> [(i, j) for i, j, _ in duplicates([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])]
    [(0, 2)]
    """
    features = as_features(X)
    n = len(features)
    if n < 2:
        return []
    found = search(features, features, min(k, n - 1), device=device_of(features, None), exclude_rows=np.arange(n))
    pairs: dict[tuple[int, int], float] = {}
    for i, place in (found.similarity >= threshold).nonzero().tolist():
        j = int(found.index[i, place])
        pairs[min(i, j), max(i, j)] = float(found.similarity[i, place])
    return sorted(((i, j, value) for (i, j), value in pairs.items()), key=lambda pair: (-pair[2], pair[:2]))
