"""Barlow Twins: two views agree in every dimension, and no two dimensions say the same.

Zbontar, Jing, Misra, LeCun and Deny, "Barlow Twins: self-supervised learning via redundancy reduction",
ICML 2021, https://arxiv.org/abs/2103.03230.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from unlabeled.core import dist
from unlabeled.core.precision import full_precision
from unlabeled.heads.projection import ProjectionHead
from unlabeled.ssl.method import Batch, DataInfo, MethodConfig, Step
from unlabeled.ssl.whole_batch import WholeBatchMethod, each_view

UNRELATED = 0.05
"""A mean correlation of the views below this says that the projections say nothing of the image."""


class BarlowTwinsConfig(MethodConfig):
    name: Literal["barlow_twins"] = "barlow_twins"
    redundancy: float = Field(0.0051, gt=0, description="lambda, the weight of the off-diagonal terms")
    projection_dim: int = Field(8192, ge=2, description="size of the projection and of the hidden layers")


@full_precision
def correlation(z1: Tensor, z2: Tensor) -> Tensor:
    """``(dim, dim)`` cross-correlation of two views' ``(B, dim)`` projections of the global batch."""
    z1, z2 = ((z - z.mean(dim=0)) / (z.var(dim=0, correction=0) + 1e-5).sqrt() for z in (z1, z2))
    return z1.T @ z2 / len(z1)


@full_precision
def redundancy_loss(matrix: Tensor, redundancy: float) -> Tensor:
    """``sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2`` (equation 1) of the ``(dim, dim)`` cross-correlation C."""
    diagonal = matrix.diagonal()
    return (1 - diagonal).square().sum() + redundancy * (matrix.square().sum() - diagonal.square().sum())


class BarlowTwins(WholeBatchMethod):
    """Three-layer head; each view passes the network by itself, as in the paper's code."""

    Config = BarlowTwinsConfig

    def __init__(self, config: BarlowTwinsConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        dim = config.projection_dim
        self.head = ProjectionHead(self.embedding_dim, dim, dim, layers=3, last_norm=False)

    def represent(self, batch: Batch, step: Step) -> Tensor:
        return each_view(lambda view: self.head(self.backbone(view)), batch.expect_views(2, "barlow_twins"))

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        matrix = correlation(*dist.gather(representations).unbind(1))
        return {"loss": redundancy_loss(matrix, self.config.redundancy), "agreement": matrix.detach().diagonal().mean()}

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        """In collapse every projection is constant, nothing correlates, and the loss stands at the dimension."""
        agreement = logged.get("agreement", 1.0)
        if agreement >= UNRELATED:
            return None
        return (
            f"Barlow Twins has collapsed: the two views' projections correlate by {agreement:.3f} on average, so "
            "they are (almost) constant; lower optimizer.lr or method.redundancy."
        )
