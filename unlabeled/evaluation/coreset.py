"""Which images of a large pool to learn from: near to one's own, or far from the middle of a cluster; none twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlabeled.evaluation.clustering import KMeans
from unlabeled.probes.arrays import InputError, Rows
from unlabeled.probes.search import search

Floats = np.ndarray[Any, np.dtype[np.float32]]
BLOCK = 1024
SPENT = -np.inf


def twins(units: Floats, distance: float) -> Rows:
    """For each row an earlier one that is kept and all but the same, or -1: the row itself is kept.

    No two kept rows are as near as ``distance``, and every other row is that near to a kept one.

    Args:
        units: ``(N, D)`` vectors of length 1.
        distance: cosine distance up to which two rows are the same.

    >>> twins(np.array([[1, 0], [0, 1], [1, 0]], np.float32), 0.01).tolist()
    [-1, -1, 0]
    """
    found = np.full(len(units), -1, dtype=np.int64)
    least = np.float32(1 - distance)
    kept = np.empty(0, dtype=np.int64)
    for start in range(0, len(units), BLOCK):
        block = units[start : start + BLOCK]
        mine = found[start : start + BLOCK]
        if len(kept):
            near = search(units[kept], block, 1)
            alike = near.similarity[:, 0].numpy() >= least
            mine[alike] = kept[near.index[:, 0].numpy()[alike]]
        within = block @ block.T
        for row in np.flatnonzero(mine < 0).tolist():
            if mine[row] < 0:
                later = np.flatnonzero((within[row] >= least) & (mine < 0))
                mine[later[later > row]] = start + row
        kept = np.concatenate([kept, start + np.flatnonzero(mine < 0)])
    return found


def nearest_to(
    own: Floats, pool: Floats, keep: int | None = None, *, clusters: int = 100, stop: float = 0.95, seed: int = 0
) -> tuple[Rows, Floats]:
    """SimCore: in rounds, each centre of one's own images takes the pool's nearest image that none took before.

    Kim, Bae and Yun, "Coreset sampling from open-set for fine-grained self-supervised learning", CVPR 2023,
    https://arxiv.org/abs/2303.11101, section 3.2 (the rounds maximise the facility location function greedily).

    Args:
        own: ``(M, D)`` embeddings of one's own images.
        pool: ``(N, D)`` embeddings of the pool.
        keep: how many to take; ``None``: until the mean similarity of a round falls below ``stop`` times the first's.
        clusters: spherical k-means centres stand for the own images where there are more of them.
        stop: tau of the paper.
        seed: of k-means.

    Returns:
        The rows taken, the most wanted first, and ``(N,)`` the cosine of each pool image to its nearest centre.

    >>> own, pool = np.eye(2, dtype=np.float32), np.array([[1, 0.1], [0.1, 1], [-1, 0]], np.float32)
    >>> nearest_to(own, pool)[0].tolist()
    [0, 1]
    """
    if keep is not None and not 1 <= keep <= len(pool):
        raise InputError(f"keep must be between 1 and the {len(pool)} images of the pool, not {keep}.")
    centres = own
    if len(own) > clusters:
        centres = KMeans(clusters, normalise=True, seed=seed).fit(own).cluster_centers_
    similarity = unit(centres) @ unit(pool).T
    score = similarity.max(axis=0)
    taken: list[int] = []
    first = None
    while len(taken) < (len(pool) if keep is None else keep):
        best = similarity.argmax(axis=1)
        mean = float(similarity[np.arange(len(best)), best].mean())
        first = mean if first is None else first
        if keep is None and mean < stop * first:
            break
        picks = np.unique(best)
        picks = picks[np.argsort(-score[picks], kind="stable")]
        taken.extend(picks.tolist())
        similarity[:, picks] = SPENT
    return np.array(taken[:keep], dtype=np.int64), score


def far_from_prototypes(pool: Floats, keep: int, *, clusters: int = 100, seed: int = 0) -> tuple[Rows, Floats]:
    """The images that are least like the middle of their cluster: of many images, the easy ones teach little.

    Sorscher, Geirhos, Shekhar, Ganguli and Morcos, "Beyond neural scaling laws: beating power law scaling via data
    pruning", NeurIPS 2022, https://arxiv.org/abs/2206.14486, section 5 (self-supervised prototypes).

    Args:
        pool: ``(N, D)`` embeddings of the pool.
        keep: how many to take.
        clusters: of k-means, at most N.
        seed: of k-means.

    Returns:
        The rows taken, the least typical first, and ``(N,)`` the cosine distance of each to its prototype.
    """
    if not 1 <= keep <= len(pool):
        raise InputError(f"keep must be between 1 and the {len(pool)} images of the pool, not {keep}.")
    found = KMeans(min(clusters, len(pool)), normalise=True, seed=seed).fit(pool)
    prototypes = unit(found.cluster_centers_)[found.labels_]
    score = 1 - (unit(pool) * prototypes).sum(axis=1)
    return np.argsort(-score, kind="stable")[:keep].astype(np.int64), score


def unit(rows: Floats) -> Floats:
    """``(N, D)`` float32 rows of length 1; zeros stay."""
    rows = np.asarray(rows, np.float32)
    found: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found
