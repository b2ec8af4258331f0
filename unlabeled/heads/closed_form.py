"""Linear predictors that are computed from the statistics of what they predict instead of being trained."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rule = Literal["direct", "directcopy", "orthogonal", "projection"]


def predictor_of(rule: Rule, own: Tensor, cross: Tensor, epsilon: float) -> Tensor:
    """The ``(dim, dim)`` matrix of a rule.

    ``direct``: eigenvectors of the correlation, eigenvalues ``p = sqrt(s) + epsilon max(s)`` (DirectPred: Tian, Chen
    and Ganguli 2021, https://arxiv.org/abs/2102.06810). ``directcopy``: ``F / |F| + epsilon I`` with the spectral norm
    (Wang, Chen, Du and Tian 2021, https://arxiv.org/abs/2110.04947). The two others follow from the optimal linear
    predictor's being near an orthogonal projection (Richemond et al. 2023, https://arxiv.org/abs/2302.04817), and are
    not that paper's own four: ``orthogonal`` is the rotation that brings projections nearest to their targets
    (Procrustes: ``U V^T`` of the cross correlation), ``projection`` goes onto the eigenvectors whose eigenvalue exceeds
    ``epsilon max(s)``.

    Args:
        rule: which.
        own: ``(dim, dim)`` correlation F = E[z zᵀ] of the projections.
        cross: ``(dim, dim)`` correlation E[t zᵀ] of targets and projections.
        epsilon: keeps directions of small eigenvalues alive; for ``projection`` the threshold.
    """
    found: Tensor
    if rule == "orthogonal":
        left, _, right = torch.linalg.svd(cross)
        found = left @ right
        return found
    values, vectors = torch.linalg.eigh(own)
    values = values.clamp(min=0)
    if rule == "direct":
        found = (vectors * (values.sqrt() + epsilon * values[-1])) @ vectors.T
    elif rule == "directcopy":
        found = own / values[-1].clamp(min=1e-12) + epsilon * torch.eye(len(own)).to(own)
    else:
        found = (vectors * (values > epsilon * values[-1])) @ vectors.T
    return found


class ClosedFormPredictor(nn.Module):
    """``(B, dim) -> (B, dim)`` by a matrix that :meth:`observe` sets; the identity before its first call.

    Args:
        dim: size of the projections.
        rule: how the matrix follows from the statistics.
        memory: rho of the moving averages ``F <- rho F + (1 - rho) E[z zᵀ]``.
        epsilon: see :func:`predictor_of`.

    >>> predictor = ClosedFormPredictor(2, "directcopy", memory=0.0, epsilon=0.1)
    >>> predictor.observe(torch.tensor([[1.0, 0.0], [0.0, 1.0]]) / 2, torch.zeros(2, 2))
    >>> predictor(torch.tensor([[1.0, 2.0]]))
    tensor([[1.1000, 2.2000]])
    """

    own: Tensor
    cross: Tensor
    weight: Tensor

    def __init__(self, dim: int, rule: Rule, memory: float = 0.3, epsilon: float = 0.1) -> None:
        super().__init__()
        self.rule: Rule = rule
        self.memory, self.epsilon = memory, epsilon
        for name in ("own", "cross"):
            self.register_buffer(name, torch.zeros(dim, dim))
        self.register_buffer("weight", torch.eye(dim))

    @torch.no_grad()
    def observe(self, own: Tensor, cross: Tensor) -> None:
        """Take in a global batch's ``(dim, dim)`` correlations and set the matrix."""
        self.own.lerp_(own.to(self.own), 1 - self.memory)
        self.cross.lerp_(cross.to(self.cross), 1 - self.memory)
        self.weight.copy_(predictor_of(self.rule, self.own, self.cross, self.epsilon))

    def forward(self, projection: Tensor) -> Tensor:
        """Predict the other view's projection."""
        return F.linear(projection, self.weight.to(projection.dtype))
