"""DINOv2: iBOT with a head for each kind of token, targets that use all outputs equally, and embeddings kept apart.

Oquab, Darcet, Moutakanni, Vo, Szafraniec et al., "DINOv2: learning robust visual features without supervision", TMLR
2024, https://arxiv.org/abs/2304.07193.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from unlabeled.core import dist
from unlabeled.core.precision import full_precision
from unlabeled.ssl.ibot import IBOT, TokenConfig
from unlabeled.ssl.method import Batch, Step
from unlabeled.ssl.multicrop import LARGE
from unlabeled.ssl.sinkhorn import sinkhorn

SMALLEST = 1e-8
"""Added to a distance before its logarithm."""


class DINOv2Config(TokenConfig):
    name: Literal["dinov2"] = "dinov2"
    shared_head: bool = Field(False, description="one head for embeddings and patches, or one for each")
    iterations: int = Field(3, ge=1, description="Sinkhorn iterations")
    koleo_weight: float = Field(0.1, ge=0, description="weight of the distance to the nearest other image")


@full_precision
def koleo(embeddings: Tensor) -> Tensor:
    """``-mean ln d``, d the distance of each unit vector of this rank to its nearest other one in the global batch.

    Sablayrolles, Douze, Schmid and Jegou 2019 (https://arxiv.org/abs/1806.03198), equation 4. The authors look within
    each GPU's share; here it is the global batch, so that the loss does not depend on the number of processes.

    Args:
        embeddings: ``(B, D)``, normalised here.
    """
    own = F.normalize(embeddings, dim=1)
    every = dist.gather(own)
    with torch.no_grad():
        near = own @ every.T
        itself = torch.arange(len(own), device=own.device) + len(own) * dist.rank()
        nearest = near.scatter(1, itself[:, None], -2.0).argmax(dim=1)
    distances: Tensor = (own - every[nearest] + SMALLEST).norm(dim=1) + SMALLEST
    return -distances.log().mean()


class DINOv2(IBOT):
    """iBOT's two losses on Sinkhorn's targets, and KoLeo on the embeddings of each large crop."""

    Config = DINOv2Config

    def balance(self, config: Any) -> None:
        """No state: Sinkhorn's steps balance the outputs within each global batch."""

    def targets(self, logits: Tensor, patch_logits: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        temperature, iterations = self.config.teacher_temperature_at(step), self.config.iterations
        return sinkhorn(logits, temperature, iterations), sinkhorn(patch_logits, temperature, iterations)

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        logged = super().compare(representations, batch, step)
        apart = torch.stack([koleo(embeddings) for embeddings in representations[:, :LARGE].unbind(1)]).sum()
        return {**logged, "loss": logged["loss"] + self.config.koleo_weight * apart, "koleo": apart.detach()}
