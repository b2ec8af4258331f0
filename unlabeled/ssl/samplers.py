"""Batches in which no two images share a pseudo-label."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlabeled.core import rng
from unlabeled.core.errors import UserError

Rows = np.ndarray[Any, np.dtype[np.int64]]


class DiverseBatches:
    """As many batches of B images from B *different* clusters as the clusters allow, in every epoch.

    With cluster sizes n_c, the number of batches M is the largest with ``sum_c min(n_c, M) >= M * B``. A cluster
    gives at most ``min(n_c, M)`` images to an epoch. Listing the images cluster by cluster and dealing them out,
    image j to batch ``j mod M``, keeps two of one cluster apart, because a cluster has at most M of them
    (McNaughton's wrap-around rule; it reaches the same M as always popping from the B fullest clusters, at a
    cost linear in the number of images). What an epoch leaves over comes next in the following epochs: each
    cluster is a ring, and every epoch goes on where the last one stopped. All of it is a function of (seed, epoch).

    Args:
        clusters: ``(N,)`` pseudo-labels.
        batch_size: B, images in a global batch.

    Raises:
        UserError: fewer than B clusters have images.
    """

    def __init__(self, clusters: Rows, batch_size: int) -> None:
        self.clusters, self.batch_size = clusters, batch_size
        _, self.members, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
        if len(sizes) < batch_size:
            raise UserError(
                f"batch_size {batch_size} needs as many clusters, only {len(sizes)} have images; "
                f"set batch_size={len(sizes)} or less, or method.clusters to {2 * batch_size} or more."
            )
        self.sizes: Rows = sizes.astype(np.int64)
        low, high = 1, len(clusters) // batch_size  # the condition holds for 1 and, being concave, up to M
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._fills(middle) else (low, middle - 1)
        self.batches = low

    def _fills(self, batches: int) -> bool:
        return int(np.minimum(self.sizes, batches).sum()) >= batches * self.batch_size

    def batches_per_epoch(self) -> int:
        """M."""
        return self.batches

    def _taken(self, epoch: int) -> tuple[Rows, Rows]:
        """How many images each cluster gives to ``epoch``, and how many it gave to all epochs before.

        ``min(n_c, M)`` summed exceeds ``M * B`` by fewer than B: so many clusters give one image less, and
        whose turn that is goes round from epoch to epoch.
        """
        most = np.minimum(self.sizes, self.batches)
        surplus = int(most.sum()) - self.batches * self.batch_size
        places, count = np.arange(len(most)), len(most)

        def spared(epochs: int) -> Rows:
            return (epochs * surplus - places + count - 1) // count

        return most - (spared(epoch + 1) - spared(epoch)), epoch * most - spared(epoch)

    def epoch(self, seed: int, epoch: int) -> Rows:
        """``(M, B)`` row numbers; no row twice, no cluster twice in a batch."""
        fixed = rng.numpy_generator(seed, "rings")
        order = fixed.permutation(len(self.clusters))  # a random order of each cluster's images: its ring
        ring = order[np.argsort(self.members[order], kind="stable")]
        starts = np.cumsum(self.sizes) - self.sizes

        draw = rng.numpy_generator(seed, "diverse", epoch)
        taken, before = self._taken(epoch)
        turn = draw.permutation(len(taken))  # the clusters' order in the dealing
        taken, before, sizes, starts = taken[turn], before[turn], self.sizes[turn], starts[turn]
        cluster = np.repeat(np.arange(len(taken)), taken)
        within = np.arange(len(cluster)) - np.repeat(np.cumsum(taken) - taken, taken)
        images = ring[starts[cluster] + (before[cluster] + within) % sizes[cluster]]
        images = images[np.lexsort((draw.random(len(images)), cluster))]  # shuffled inside each cluster
        batches = images.reshape(self.batch_size, self.batches).T
        return draw.permuted(batches[draw.permutation(self.batches)], axis=1)
