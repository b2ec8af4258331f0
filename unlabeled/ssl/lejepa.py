"""LeJEPA: all views predict the mean of the global ones, and their projections are made an isotropic Gaussian.

Balestriero and LeCun, "LeJEPA: provable and scalable self-supervised learning without the heuristics", 2025,
https://arxiv.org/abs/2511.08544. No teacher, no stop-gradient, one trade-off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlabeled.core import dist
from unlabeled.core.device import send
from unlabeled.core.errors import UserError
from unlabeled.core.precision import full_precision
from unlabeled.heads.projection import ProjectionHead
from unlabeled.ssl.method import Batch, DataInfo, MethodConfig, Step
from unlabeled.ssl.multicrop import embed_crops
from unlabeled.ssl.whole_batch import WholeBatchMethod

FLAT = 0.1
"""A deviation of the projections below this is called a collapse."""


class JEPAConfig(MethodConfig):
    """The settings that LeJEPA shares with VISReg."""

    slices: int = Field(256, ge=1, description="random directions the projections are looked at along, new each step")
    hidden_dim: int = Field(2048, ge=1, description="width of the head's hidden layers")
    projection_dim: int = Field(16, ge=2, description="size of the projection")


class LeJEPAConfig(JEPAConfig):
    name: Literal["lejepa"] = "lejepa"
    trade_off: float = Field(0.05, gt=0, lt=1, description="lambda: weight of SIGReg, 1 - lambda that of agreement")
    knots: int = Field(17, ge=2, description="points of the integral over the characteristic function")
    reach: float = Field(3.0, gt=0, description="largest argument of the characteristic function")


def directions(step: Step, dim: int, count: int, device: torch.device) -> Tensor:
    """``(dim, count)`` random unit vectors, the same on every rank."""
    return send(F.normalize(torch.randn(dim, count, generator=step.generator("directions")), dim=0), device)


@full_precision
def agreement(z: Tensor, globals_: int) -> Tensor:
    """Mean squared distance of ``(V, N, dim)`` projections to the mean of the first ``globals_`` views of the image."""
    return (z - z[:globals_].mean(dim=0)).square().mean()


@full_precision
def sigreg(z: Tensor, directions: Tensor, knots: int, reach: float) -> Tensor:
    """Epps and Pulley's distance of 1-D projections to N(0, 1), mean over views and directions.

    ``N int |phi(t) - exp(-t^2/2)|^2 exp(-t^2/2) dt`` by the trapezoidal rule on ``[-reach, reach]``, phi the empirical
    characteristic function of the N projections on a direction.

    Args:
        z: ``(V, N, dim)`` projections of the global batch.
        directions: ``(dim, slices)`` unit vectors.
        knots: points on ``[0, reach]``; the integrand is even.
        reach: end of the integral.
    """
    t = torch.linspace(0, reach, knots, device=z.device, dtype=z.dtype)
    normal = (-t.square() / 2).exp()
    along = (z @ send(directions.to(z.dtype), z.device))[..., None] * t
    error = (along.cos().mean(dim=1) - normal).square() + along.sin().mean(dim=1).square()
    return 2 * torch.trapezoid(error * normal, t).mean() * z.shape[1]


class LeJEPA(WholeBatchMethod):
    """The views of the recipe's first size are the global ones, smaller ones may follow."""

    Config: ClassVar[type[MethodConfig]] = LeJEPAConfig

    def __init__(self, config: JEPAConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        self.head = ProjectionHead(
            self.embedding_dim, config.hidden_dim, config.projection_dim, layers=3, last_norm=False
        )

    def represent(self, batch: Batch, step: Step) -> Tensor:
        views = batch.views
        if len(views) < 2:
            raise UserError(
                f"the method '{self.config.name}' compares views of an image and gets one; set 'count' in the recipe's "
                "'views' to 2 or more."
            )
        z: Tensor = self.head(embed_crops(self.backbone, views))
        return z.view(len(views), len(views[0]), -1).transpose(0, 1)

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        z = dist.gather(representations).transpose(0, 1)
        large = sum(view.shape == batch.views[0].shape for view in batch.views)
        return {**self.terms(z, large, step), "deviation": z.detach().std(dim=1, correction=0).mean()}

    def terms(self, z: Tensor, large: int, step: Step) -> dict[str, Tensor]:
        """The loss of ``(V, N, dim)`` projections, the first ``large`` views being global, and its parts."""
        config, weight = self.config, self.config.trade_off
        near = agreement(z, large)
        shape = sigreg(z, directions(step, z.shape[2], config.slices, z.device), config.knots, config.reach)
        return {"loss": weight * shape + (1 - weight) * near, "agreement": near.detach(), "sigreg": shape.detach()}

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        """A deviation near 0, where the Gaussian's is 1, says that no dimension varies."""
        deviation = logged.get("deviation", 1.0)
        if deviation >= FLAT:
            return None
        return (
            f"{self.config.name} has collapsed: its projections deviate by {deviation:.3f} where 1 is wanted, no "
            "dimension varies; raise method.trade_off or lower optimizer.lr."
        )
