"""SwAV: predict from one crop of an image the cluster assignment of another.

Caron, Misra, Mairal, Goyal, Bojanowski and Joulin, "Unsupervised learning of visual features by
contrasting cluster assignments", NeurIPS 2020, https://arxiv.org/abs/2006.09882.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlabeled.core import dist
from unlabeled.heads.projection import ProjectionHead
from unlabeled.heads.prototypes import Prototypes
from unlabeled.heads.queue import ProjectionQueue
from unlabeled.ssl.method import Batch, DataInfo, MethodConfig, ParameterGroup, Step, grouped
from unlabeled.ssl.multicrop import LARGE, embed_crops, require_large, swapped_loss
from unlabeled.ssl.sinkhorn import sinkhorn
from unlabeled.ssl.whole_batch import WholeBatchMethod

MOSTLY_DEAD = 0.5
"""A warning is given when more than this part of the prototypes led for no image of an epoch."""
ENOUGH = 10
"""Images per prototype in an epoch, from which a prototype that never leads is called dead."""


class SwAVConfig(MethodConfig):
    name: Literal["swav"] = "swav"
    prototypes: int = Field(512, ge=2, description="number of prototypes K (3000 on ImageNet)")
    temperature: float = Field(0.1, gt=0, description="tau of the prediction")
    epsilon: float = Field(0.05, ge=0.025, description="smoothness of the codes; exp(-2/epsilon) must fit float32")
    iterations: int = Field(3, ge=1, description="Sinkhorn iterations")
    freeze_steps: int = Field(313, ge=0, description="first steps, in which the prototypes stay as they are")
    queue: int = Field(0, ge=0, description="past projections that join the codes' computation; for small batches")
    queue_from_epoch: int = Field(0, ge=0, description="first epoch in which the (full) queue is used")
    hidden_dim: int | None = Field(None, ge=1, description="width of the hidden layer; default: the embedding's")
    projection_dim: int = Field(128, ge=1, description="size of the projection")


class SwAV(WholeBatchMethod):
    """Multi-crop SwAV: the recipe's first two views are the large crops, all others the small ones."""

    Config = SwAVConfig
    led: Tensor

    def __init__(self, config: SwAVConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        hidden_dim = config.hidden_dim or self.embedding_dim
        self.head = ProjectionHead(self.embedding_dim, hidden_dim, config.projection_dim, last_norm=False)
        self.prototypes = Prototypes(config.projection_dim, config.prototypes)
        self.queue = ProjectionQueue(LARGE, config.queue, config.projection_dim)
        self.register_buffer("led", torch.zeros(config.prototypes))
        self.latest: Tensor | None = None

    def before_step(self, step: Step) -> None:
        self.prototypes.normalise()
        if step.number % step.per_epoch == 0:
            self.led.zero_()

    def after_backward(self, step: Step) -> None:
        if step.number < self.config.freeze_steps:
            self.prototypes.weight.grad = None  # no gradient, no momentum and no weight decay either

    def parameter_groups(self) -> list[ParameterGroup]:
        """The default, with the prototypes, which start later, apart."""
        return grouped(self.parameters(), apart=[self.prototypes.weight])

    def represent(self, batch: Batch, step: Step) -> Tensor:
        return self.project(batch.views).transpose(0, 1)

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        projections = representations.transpose(0, 1)
        scores = self.prototypes(projections)
        codes = self.codes(projections[:LARGE].detach(), step)
        self.latest = projections[:LARGE].detach()
        return {"loss": swapped_loss(scores, codes, self.config.temperature), **self.usage(codes[0])}

    def project(self, views: Sequence[Tensor]) -> Tensor:
        """Crops of one size pass the backbone in one batch, all of them the head in one: ``(V, B, dim)``."""
        require_large(views, "swav")
        projections = self.head(embed_crops(self.backbone, views))
        return F.normalize(projections.to(self.led).view(len(views), len(views[0]), -1), dim=2)

    @torch.no_grad()
    def codes(self, large: Tensor, step: Step) -> Tensor:
        """Codes of ``(L, B, dim)`` projections, together with this rank's share of the queue once that is full."""
        config, codes = self.config, []
        with_queue = self.queue.full and step.epoch >= config.queue_from_epoch
        for projections, past in zip(large, self.queue.rows, strict=True):
            if with_queue:
                projections = torch.cat([projections, past[dist.rank() :: dist.world_size()]])
            scores = self.prototypes(projections)
            codes.append(sinkhorn(scores, config.epsilon, config.iterations)[: large.shape[1]])
        return torch.stack(codes)

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Push the projections of all ranks into the queue, which is the same on each of them."""
        if self.config.queue and self.latest is not None:
            self.queue.push(dist.gather(self.latest.transpose(0, 1).contiguous()).transpose(0, 1))
        self.latest = None

    @torch.no_grad()
    def usage(self, codes: Tensor) -> dict[str, Tensor]:
        """The fraction of prototypes that lead for some image of the batch, and the entropy of a code."""
        leads = dist.all_reduce_sum(codes.new_zeros(codes.shape[1]).scatter_(0, codes.argmax(dim=1), 1.0))
        if self.training:
            self.led += leads > 0  # in how many steps of the epoch
        entropy = torch.special.entr(codes).sum(dim=1).mean()
        return {"prototypes_used": (leads > 0).float().mean(), "code_entropy": entropy}

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        if step.number < self.config.freeze_steps:
            return None
        count, ceiling = self.config.prototypes, math.log(self.config.prototypes)
        if logged.get("loss", 0.0) >= 0.99 * ceiling:
            return (
                f"SwAV has collapsed: its loss {logged['loss']:.3f} stands at ln K = {ceiling:.3f}, every crop gets "
                "the same answer; lower optimizer.lr or method.epsilon, use fewer method.prototypes, or set "
                "method.queue."
            )
        dead = int((self.led == 0).sum())
        if dead > MOSTLY_DEAD * count and step.per_epoch * step.batch_size >= ENOUGH * count:
            return (
                f"{dead} of {count} prototypes are dead: they led for no image of the epoch; use fewer "
                "method.prototypes, freeze them longer (method.freeze_steps), or lower optimizer.lr."
            )
        return None
