"""NNCLR: the positive of a view is its other view's nearest neighbour among earlier images.

Dwibedi, Aytar, Tompson, Sermanet and Zisserman, "With a little help from my friends: nearest-neighbor contrastive
learning of visual representations", ICCV 2021, https://arxiv.org/abs/2104.14548.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlabeled.core import dist
from unlabeled.core.errors import UserError
from unlabeled.core.precision import full_precision
from unlabeled.heads.projection import ProjectionHead
from unlabeled.heads.queue import ProjectionQueue
from unlabeled.ssl.method import Batch, DataInfo, MethodConfig, Step
from unlabeled.ssl.whole_batch import WholeBatchMethod, collapse, each_view, spread


class NNCLRConfig(MethodConfig):
    name: Literal["nnclr"] = "nnclr"
    temperature: float = Field(0.1, gt=0, description="tau of InfoNCE")
    queue: int = Field(98304, ge=1, description="size of the support set of earlier projections")
    hidden_dim: int = Field(2048, ge=1, description="width of the projection's hidden layers")
    predictor_dim: int = Field(4096, ge=1, description="width of the predictor's hidden layer")
    projection_dim: int = Field(256, ge=2, description="size of the projection")


@torch.no_grad()
@full_precision
def nearest(z: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
    """The most similar of the ``(K, dim)`` unit rows of ``support`` for each row of ``z``, and their numbers."""
    chosen = (F.normalize(z, dim=1) @ support.to(z).T).argmax(dim=1)
    return support.to(z)[chosen], chosen


@full_precision
def neighbour_loss(neighbour: Tensor, prediction: Tensor, temperature: float) -> Tensor:
    """``-log( exp(n_i.p_i/tau) / sum_k exp(n_i.p_k/tau) )``, mean over this rank's images.

    Args:
        neighbour: ``(B, dim)`` neighbours of the first views, or those themselves; normalised here, without gradient.
        prediction: ``(B, dim)`` predictions of the second views; k runs over the global batch.
        temperature: tau.
    """
    neighbour, prediction = F.normalize(neighbour.detach(), dim=1), F.normalize(prediction, dim=1)
    own = torch.arange(len(neighbour), device=neighbour.device) + len(neighbour) * dist.rank()
    return F.cross_entropy(neighbour @ dist.gather(prediction).T / temperature, own)


class NNCLR(WholeBatchMethod):
    """Both ways; until the support set is full, a view is its own neighbour (plain contrast with a predictor)."""

    Config = NNCLRConfig

    def __init__(self, config: NNCLRConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        dim = config.projection_dim
        self.head = ProjectionHead(self.embedding_dim, config.hidden_dim, dim, layers=3)
        self.predictor = ProjectionHead(dim, config.predictor_dim, dim, last_norm=False, last_bias=True)
        self.queue = ProjectionQueue(1, config.queue, dim)
        self.latest: Tensor | None = None

    def check(self, batch_size: int) -> None:
        if self.config.queue < batch_size:
            raise UserError(
                f"method.queue {self.config.queue} holds less than one batch of {batch_size} images; set "
                f"method.queue={16 * batch_size} or another multiple of it."
            )

    def represent(self, batch: Batch, step: Step) -> Tensor:
        return each_view(lambda view: self.head(self.backbone(view)), batch.expect_views(2, "nnclr"))

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        z1, z2 = representations.unbind(1)
        self.latest = F.normalize(z1.detach().to(self.queue.rows), dim=1)
        more = {}
        n1, n2 = z1, z2
        if self.queue.full:
            n1, chosen = nearest(z1, self.queue.rows[0])
            n2, _ = nearest(z2, self.queue.rows[0])
            used = torch.zeros(self.config.queue, device=z1.device).index_fill_(0, chosen, 1.0).sum()
            more = {"neighbours_used": used / len(z1)}
        tau = self.config.temperature
        loss = (neighbour_loss(n1, self.predictor(z2), tau) + neighbour_loss(n2, self.predictor(z1), tau)) / 2
        return {"loss": loss, "spread": spread(representations), **more}

    def after_step(self, step: Step) -> None:
        """The first views of all ranks enter the support set, after the loss."""
        if self.latest is not None:
            self.queue.push(dist.gather(self.latest)[None])
        self.latest = None

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        if logged.get("neighbours_used", 1.0) < 0.02:
            return (
                f"NNCLR: nearly all images have the same neighbour ({logged['neighbours_used']:.1%} differ); enlarge "
                "method.queue or lower optimizer.lr."
            )
        return collapse(logged, "NNCLR", "lower optimizer.lr or lengthen optimizer.warmup_epochs")
