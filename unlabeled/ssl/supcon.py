"""Supervised contrastive learning: all views of all images of a class attract each other; a reference with labels.

Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu and Krishnan, "Supervised contrastive learning",
NeurIPS 2020, https://arxiv.org/abs/2004.11362.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlabeled.core import dist
from unlabeled.core.precision import full_precision
from unlabeled.heads.projection import ProjectionHead
from unlabeled.ssl.method import Batch, DataInfo, MethodConfig, Step
from unlabeled.ssl.whole_batch import WholeBatchMethod, collapse, spread


class SupConConfig(MethodConfig):
    name: Literal["supcon"] = "supcon"
    temperature: float = Field(0.1, gt=0, description="tau")
    hidden_dim: int | None = Field(None, ge=1, description="width of the hidden layer; default: the embedding's")
    projection_dim: int = Field(128, ge=2, description="size of the projection")


@full_precision
def supervised_contrast(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """``-1/|P(i)| sum_{p in P(i)} log( exp(z_i.z_p/tau) / sum_{a != i} exp(z_i.z_a/tau) )`` (equation 2, L_out).

    P(i) are all other views of the class of view i in the global batch; the mean runs over this rank's own views.

    Args:
        z: ``(B, 2, dim)`` projections, normalised here.
        labels: ``(B,)`` classes.
        temperature: tau.
    """
    z = F.normalize(z, dim=2)
    own, every = z.flatten(0, 1), dist.gather(z).flatten(0, 1)
    own_labels, all_labels = (found.repeat_interleave(2) for found in (labels, dist.gather(labels)))
    itself = torch.arange(len(own), device=z.device) + len(own) * dist.rank()
    logits = (own @ every.T / temperature).scatter(1, itself[:, None], -torch.inf)
    positive = (own_labels[:, None] == all_labels).scatter(1, itself[:, None], False)
    log_share = F.log_softmax(logits, dim=1).where(positive, torch.zeros((), dtype=z.dtype, device=z.device))
    return -(log_share.sum(dim=1) / positive.sum(dim=1)).mean()


class SupCon(WholeBatchMethod):
    """Both views pass backbone and a plain two-layer head together."""

    Config = SupConConfig
    needs_labels = True

    def __init__(self, config: SupConConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        hidden = config.hidden_dim or self.embedding_dim
        self.head = ProjectionHead(
            self.embedding_dim, hidden, config.projection_dim, last_norm=False, hidden_norm=False
        )

    def represent(self, batch: Batch, step: Step) -> Tensor:
        views = batch.expect_views(2, "supcon")
        return torch.stack(self.head(self.backbone(torch.cat(views))).chunk(2), dim=1)

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        assert batch.labels is not None
        loss = supervised_contrast(representations, batch.labels, self.config.temperature)
        return {"loss": loss, "spread": spread(representations)}

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        return collapse(logged, "SupCon", "lower optimizer.lr, or see whether the labels have more than one class")
