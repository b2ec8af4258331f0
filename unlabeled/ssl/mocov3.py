"""MoCo v3: contrast within the batch against the keys of a momentum teacher, with a predictor; for ViTs, too.

Chen, Xie and He, "An empirical study of training self-supervised vision transformers", ICCV 2021,
https://arxiv.org/abs/2104.02057.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from unlabeled.core import dist
from unlabeled.core.precision import full_precision
from unlabeled.heads.projection import ProjectionHead
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.teacher import MomentumTeacher, TeacherConfig, WithTeacher
from unlabeled.ssl.whole_batch import WholeBatchMethod, collapse, each_view, spread


class MoCoV3Config(TeacherConfig):
    name: Literal["mocov3"] = "mocov3"
    momentum: float = Field(0.99, ge=0, le=1, description="m of the teacher's average at first")
    temperature: float = Field(0.2, gt=0, description="tau of InfoNCE: 0.2 for ViTs, 1.0 for ResNet-50")
    layers: int = Field(2, ge=1, le=4, description="linear layers of the projection: 3 for ViTs, 2 for ResNets")
    hidden_dim: int = Field(4096, ge=1, description="width of the hidden layers")
    projection_dim: int = Field(256, ge=2, description="size of the projection")
    freeze_patches: bool = Field(True, description="ViTs: leave the patch projection as it was drawn, for stability")


@full_precision
def in_batch_loss(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """``2 tau`` times the cross-entropy of finding each image's key among those of the global batch (algorithm 1).

    Args:
        query: ``(B, dim)`` predictions of this rank, normalised here.
        key: ``(B, dim)`` the teacher's projections of the other views.
        temperature: tau.
    """
    query, key = F.normalize(query, dim=1), F.normalize(key.detach(), dim=1)
    own = torch.arange(len(query), device=query.device) + len(query) * dist.rank()
    return 2 * temperature * F.cross_entropy(query @ dist.gather(key).T / temperature, own)


class MoCoV3(WithTeacher, WholeBatchMethod):
    """Predictions of either view against the teacher's keys of the other."""

    Config = MoCoV3Config

    def __init__(self, config: MoCoV3Config, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        hidden, dim = config.hidden_dim, config.projection_dim
        vit = isinstance(backbone, VisionTransformer)
        if vit and config.freeze_patches:
            backbone.get_submodule("patch_embed").requires_grad_(False)
        self.head = ProjectionHead(self.embedding_dim, hidden, dim, layers=config.layers, last_scale=False)
        self.predictor = ProjectionHead(dim, hidden, dim, last_norm=vit, last_scale=False)
        self.teacher = MomentumTeacher(backbone, self.head)

    def represent(self, batch: Batch, step: Step) -> Tensor:
        """``(B, 4, dim)``: the student's projections of both views, then the teacher's."""
        views = batch.expect_views(2, "mocov3")
        student = each_view(lambda view: self.head(self.backbone(view)), views)
        return torch.cat([student, each_view(self.teacher, views)], dim=1)

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        z1, z2, k1, k2 = representations.unbind(1)
        q1, q2, tau = self.predictor(z1), self.predictor(z2), self.config.temperature
        return {"loss": in_batch_loss(q1, k2, tau) + in_batch_loss(q2, k1, tau), "spread": spread(q1)}

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        return collapse(logged, "MoCo v3", "lower optimizer.lr, raise method.momentum, or keep method.freeze_patches")
