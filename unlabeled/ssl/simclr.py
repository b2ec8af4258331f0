"""SimCLR: two views of an image attract each other, all other views in the batch repel.

Chen, Kornblith, Norouzi and Hinton, "A simple framework for contrastive learning of visual
representations", ICML 2020, https://arxiv.org/abs/2002.05709.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlabeled.core import dist
from unlabeled.core.precision import full_precision
from unlabeled.heads.projection import ProjectionHead
from unlabeled.ssl.method import Batch, DataInfo, MethodConfig, Step
from unlabeled.ssl.whole_batch import WholeBatchMethod, collapse, spread


class ContrastiveConfig(MethodConfig):
    """The settings that SimCLR shares with its descendants."""

    temperature: float = Field(0.5, gt=0, description="tau of NT-Xent")
    hidden_dim: int | None = Field(None, ge=1, description="width of the hidden layers; default: the embedding's")
    projection_dim: int = Field(128, ge=1, description="size of the projection")
    layers: int = Field(2, ge=1, le=4, description="linear layers in the projection head: 2 in SimCLR, 3 in SimCLRv2")


class SimCLRConfig(ContrastiveConfig):
    name: Literal["simclr"] = "simclr"


@full_precision
def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """Normalised-temperature cross-entropy (equation 1, averaged over both views of every image).

    ``-log( exp(s(i, j)/tau) / sum_{k != i} exp(s(i, k)/tau) )`` with the cosine similarity ``s`` and ``j`` the
    other view of image ``i``. The 2N-1 candidates ``k`` are the views of the global batch, gathered from
    all ranks as ``[all first views | all second views]``; the mean runs over this rank's own 2B views.

    Args:
        z1: ``(B, dim)`` projections of the first views, normalised here.
        z2: ``(B, dim)`` projections of the second views of the same images.
        temperature: tau.
    """
    z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    candidates = torch.cat([dist.gather(z1), dist.gather(z2)])
    total = len(candidates) // 2
    own = torch.arange(len(z1), device=z1.device) + len(z1) * dist.rank()
    itself = torch.cat([own, own + total])
    positive = torch.cat([own + total, own])
    logits = torch.cat([z1, z2]) @ candidates.T / temperature
    logits = logits.scatter(1, itself[:, None], -torch.inf)
    return F.cross_entropy(logits, positive)


class SimCLR(WholeBatchMethod):
    """Both views through backbone and head in ONE forward, so that BatchNorm sees them together."""

    Config: ClassVar[type[MethodConfig]] = SimCLRConfig

    def __init__(self, config: ContrastiveConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        hidden_dim = config.hidden_dim or self.embedding_dim
        self.head = ProjectionHead(self.embedding_dim, hidden_dim, config.projection_dim, layers=config.layers)

    def represent(self, batch: Batch, step: Step) -> Tensor:
        views = batch.expect_views(2, self.config.name)
        return torch.stack(self.head(self.backbone(torch.cat(views))).chunk(2), dim=1)

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        z1, z2 = representations.unbind(1)
        return {"loss": nt_xent(z1, z2, self.config.temperature), "spread": spread(representations)}

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        return collapse(logged, self.config.name, "lower optimizer.lr or lengthen optimizer.warmup_epochs")
