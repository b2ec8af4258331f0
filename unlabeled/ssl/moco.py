"""MoCo v2: a view must find its image's key among those of thousands of earlier images, kept in a queue.

He, Fan, Wu, Xie and Girshick, "Momentum contrast for unsupervised visual representation learning", CVPR 2020,
https://arxiv.org/abs/1911.05722; with the head and views of Chen, Fan, Girshick and He, "Improved baselines with
momentum contrastive learning", 2020, https://arxiv.org/abs/2003.04297.
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
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.teacher import MomentumTeacher, TeacherConfig, WithTeacher
from unlabeled.ssl.whole_batch import WholeBatchMethod, collapse, spread


class MoCoConfig(TeacherConfig):
    name: Literal["moco"] = "moco"
    momentum: float = Field(0.999, ge=0, le=1, description="m of the key network's average k <- m k + (1 - m) q")
    momentum_end: float = Field(0.999, ge=0, le=1, description="m at the end of training; the paper keeps it")
    temperature: float = Field(0.2, gt=0, description="tau of InfoNCE")
    queue: int = Field(65536, ge=1, description="earlier keys that serve as negatives")
    hidden_dim: int | None = Field(None, ge=1, description="width of the hidden layer; default: the embedding's")
    projection_dim: int = Field(128, ge=2, description="size of the projection")


@full_precision
def queue_loss(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """``-log( exp(q.k/tau) / (exp(q.k/tau) + sum_j exp(q.n_j/tau)) )`` of cosines (equation 1), mean over images.

    Args:
        query: ``(B, dim)`` projections, normalised here.
        key: ``(B, dim)`` the teacher's of the other view.
        queue: ``(K, dim)`` unit keys of other images; rows of zeros, as before it is full, are as far as random ones.
        temperature: tau.
    """
    query, key = F.normalize(query, dim=1), F.normalize(key.detach(), dim=1)
    positive = (query * key).sum(dim=1, keepdim=True)
    logits = torch.cat([positive, query @ queue.to(query).T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


class MoCo(WithTeacher, WholeBatchMethod):
    """The first view is the query, the second the key.

    The paper shuffles images between GPUs so that BatchNorm does not give the key away; on several ranks ours
    normalises by the global batch, which serves the same end and makes any number of ranks equal one.
    """

    Config = MoCoConfig

    def __init__(self, config: MoCoConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        hidden, dim = config.hidden_dim or self.embedding_dim, config.projection_dim
        self.head = ProjectionHead(self.embedding_dim, hidden, dim, last_norm=False, hidden_norm=False)
        self.teacher = MomentumTeacher(backbone, self.head)
        self.queue = ProjectionQueue(1, config.queue, dim)
        self.latest: Tensor | None = None

    def check(self, batch_size: int) -> None:
        if self.config.queue < batch_size:
            raise UserError(
                f"method.queue {self.config.queue} holds less than one batch of {batch_size} keys; set "
                f"method.queue={16 * batch_size} or another multiple of it."
            )

    def represent(self, batch: Batch, step: Step) -> Tensor:
        """``(B, 2, dim)``: query and key."""
        first, second = batch.expect_views(2, "moco")
        return torch.stack([self.head(self.backbone(first)), self.teacher(second)], dim=1)

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        query, key = representations.unbind(1)
        self.latest = F.normalize(key.detach().to(self.queue.rows), dim=1)
        loss = queue_loss(query, key, self.queue.rows[0], self.config.temperature)
        return {"loss": loss, "spread": spread(query)}

    def after_step(self, step: Step) -> None:
        """Move the teacher; the keys of all ranks enter the queue, which is the same on each of them."""
        super().after_step(step)
        if self.latest is not None:
            self.queue.push(dist.gather(self.latest)[None])
        self.latest = None

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        return collapse(logged, "MoCo", "lower optimizer.lr, raise method.momentum, or lower method.temperature")
