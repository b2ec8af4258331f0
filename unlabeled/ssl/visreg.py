"""VISReg: LeJEPA's agreement with scale, shape and centre of the projections kept apart.

Wu, Balestriero and Levine, "VISReg: variance-invariance-sketching regularization for JEPA training", 2026,
https://arxiv.org/abs/2606.02572.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.core.precision import full_precision
from unlabeled.ssl.lejepa import JEPAConfig, LeJEPA, agreement, directions
from unlabeled.ssl.method import Step


class VISRegConfig(JEPAConfig):
    name: Literal["visreg"] = "visreg"
    trade_off: float = Field(
        0.6, gt=0, lt=1, description="lambda, weight of the regulariser: 0.6 small data, 0.9 large"
    )
    scale: float = Field(1.0, ge=0, description="weight of the deviations' distance to 1")
    shape: float = Field(1.0, ge=0, description="weight of the distance to a Gaussian; more for long-tailed data")
    center: float = Field(1.0, ge=0, description="weight of the means' distance to 0")


@full_precision
def regularisers(z: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, shape and centre of ``(V, N, dim)`` projections (equations 1, 5 and 6).

    Scale: ``(1 - std)^2``, whose gradient does not vanish in collapse. Shape: the sorted projections of the
    standardised ``z`` on each direction against the Gaussian's quantiles at ``i / (N + 1)`` (sliced Wasserstein
    distance), with no gradient through the standard deviation. Centre: the squared mean.
    """
    mean, std = z.mean(dim=1, keepdim=True), z.std(dim=1, correction=0, keepdim=True)
    along = ((z - mean) / (std.detach() + 1e-4)) @ send(directions.to(z.dtype), z.device)
    places = torch.arange(1, z.shape[1] + 1, device=z.device, dtype=torch.float64) / (z.shape[1] + 1)
    shape = (along.sort(dim=1).values - torch.special.ndtri(places).to(z)[:, None]).square().mean()
    return (1 - std).square().mean(), shape, mean.square().mean()


class VISReg(LeJEPA):
    """Its own regulariser on the global batch, so that any number of ranks gives the same."""

    Config = VISRegConfig

    def terms(self, z: Tensor, large: int, step: Step) -> dict[str, Tensor]:
        config, near = self.config, agreement(z, large)
        scale, shape, center = regularisers(z, directions(step, z.shape[2], config.slices, z.device))
        regulariser = config.scale * scale + config.shape * shape + config.center * center
        parts = {"agreement": near, "scale": scale, "shape": shape, "center": center}
        loss = (1 - config.trade_off) * near + config.trade_off * regulariser
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}
