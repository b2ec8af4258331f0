"""VICReg: views agree, every dimension varies, and no two dimensions vary together.

Bardes, Ponce and LeCun, "VICReg: variance-invariance-covariance regularization for self-supervised learning",
ICLR 2022, https://arxiv.org/abs/2105.04906.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlabeled.core import dist
from unlabeled.core.precision import full_precision
from unlabeled.heads.projection import ProjectionHead
from unlabeled.ssl.method import Batch, DataInfo, MethodConfig, Step
from unlabeled.ssl.whole_batch import WholeBatchMethod, each_view


class VICRegConfig(MethodConfig):
    name: Literal["vicreg"] = "vicreg"
    invariance: float = Field(25.0, gt=0, description="weight of the distance of views")
    variance: float = Field(25.0, ge=0, description="weight of the hinge that keeps each deviation above 1")
    covariance: float = Field(1.0, ge=0, description="weight of the squared covariances")
    projection_dim: int = Field(8192, ge=2, description="size of the projection and of the hidden layers")


@full_precision
def variance_term(z: Tensor) -> Tensor:
    """``mean_j max(0, 1 - sqrt(Var(z_j) + 1e-4))`` of ``(B, dim)`` projections (equations 1 and 2)."""
    return F.relu(1 - (z.var(dim=0) + 1e-4).sqrt()).mean()


@full_precision
def covariance_term(z: Tensor) -> Tensor:
    """``sum_{i != j} Cov(z_i, z_j)^2 / dim`` of ``(B, dim)`` projections (equations 3 and 4)."""
    z = z - z.mean(dim=0)
    matrix = z.T @ z / (len(z) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]


class VICReg(WholeBatchMethod):
    """Three-layer head without normalisation of its output; each view passes by itself."""

    Config = VICRegConfig

    def __init__(self, config: VICRegConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        dim = config.projection_dim
        self.head = ProjectionHead(self.embedding_dim, dim, dim, layers=3, last_norm=False)

    def represent(self, batch: Batch, step: Step) -> Tensor:
        return each_view(lambda view: self.head(self.backbone(view)), batch.expect_views(2, "vicreg"))

    @full_precision
    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        """All terms on the global batch; the views' variances are averaged, their covariances added (algorithm 1)."""
        config = self.config
        z1, z2 = dist.gather(representations).unbind(1)
        invariance = F.mse_loss(z1, z2)
        variance = (variance_term(z1) + variance_term(z2)) / 2
        covariance = covariance_term(z1) + covariance_term(z2)
        loss = config.invariance * invariance + config.variance * variance + config.covariance * covariance
        terms = {"invariance": invariance, "variance": variance, "covariance": covariance}
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        """A variance term near 1 says that no dimension varies."""
        if logged.get("variance", 0.0) < 0.95:
            return None
        return (
            f"VICReg has collapsed: its variance term {logged['variance']:.3f} stands at 1, no dimension of the "
            "projection varies; raise method.variance or lower optimizer.lr."
        )
