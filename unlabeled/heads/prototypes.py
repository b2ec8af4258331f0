"""Prototypes: unit vectors that projections are compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Prototypes(nn.Module):
    """K trainable unit vectors and no bias: ``(B, dim) -> (B, K)`` scores (Caron et al. 2020, section 3.1).

    With unit-norm projections the scores are cosines. The rows leave the unit sphere with every optimiser step;
    call :meth:`normalise` before the next forward pass.

    Args:
        dim: size of the projections.
        count: K, the number of prototypes.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, dim))
        self.normalise()

    @torch.no_grad()
    def normalise(self) -> None:
        """Give every row unit length again, in place."""
        self.weight.copy_(F.normalize(self.weight, dim=1))

    def forward(self, projection: Tensor) -> Tensor:
        """Compare ``(B, dim)`` unit-norm projections with all prototypes, in full precision even under autocast."""
        with torch.autocast(projection.device.type, enabled=False):
            return F.linear(projection.to(self.weight.dtype), self.weight)
