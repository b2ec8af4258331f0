"""Sinkhorn-Knopp: soft codes that share images out equally among prototypes (Caron et al. 2020, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from unlabeled.core import dist
from unlabeled.core.precision import full_precision


@torch.no_grad()
@full_precision
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft codes that use all prototypes equally (equations 3 to 5).

    Starting from ``exp(scores / epsilon)``, make in turn every prototype receive ``1 / K`` and every image give
    ``1 / B`` of the total mass. B is the global batch: sums and the subtracted maximum run over all ranks.

    Args:
        scores: ``(b, K)`` cosines of this rank's projections with the prototypes. Ranks may have
            different numbers of rows, or none.
        epsilon: smoothness of the codes.
        iterations: how often both are made equal.

    Returns:
        ``(b, K)`` codes; every row sums to 1.
    """
    own = scores.max() if len(scores) else scores.new_full((), -torch.inf)
    highest = dist.gather(own.view(1)).max()
    codes = torch.exp((scores - highest) / epsilon)
    codes /= dist.all_reduce_sum(codes.sum())
    for _ in range(iterations):
        codes /= dist.all_reduce_sum(codes.sum(dim=0)) * scores.shape[1]
        codes /= codes.sum(dim=1, keepdim=True)  # a row's mass is 1, not 1 / B: the next column step undoes a factor
    return codes
