"""BYOL: predict from one view what a slowly moving copy of the network makes of the other; no negatives.

Grill, Strub, Altche, Tallec, Richemond et al., "Bootstrap your own latent: a new approach to self-supervised learning",
NeurIPS 2020, https://arxiv.org/abs/2006.07733. Its predictor may also be linear or set in closed form:
see ``heads/closed_form.py``.
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
from unlabeled.heads.closed_form import ClosedFormPredictor
from unlabeled.heads.projection import ProjectionHead
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.teacher import MomentumTeacher, TeacherConfig, WithTeacher
from unlabeled.ssl.whole_batch import WholeBatchMethod, collapse, each_view, spread


class BYOLConfig(TeacherConfig):
    name: Literal["byol"] = "byol"
    hidden_dim: int = Field(4096, ge=1, description="width of the hidden layers")
    projection_dim: int = Field(256, ge=2, description="size of the projection")
    predictor: Literal["mlp", "linear", "direct", "directcopy", "orthogonal", "projection"] = Field(
        "mlp", description="mlp and linear are trained; the others are computed from the projections' correlation"
    )
    predictor_memory: float = Field(0.3, ge=0, lt=1, description="rho of the correlation's moving average")
    predictor_epsilon: float = Field(0.1, ge=0, description="epsilon of the computed predictors")


@full_precision
def prediction_error(predicted: Tensor, target: Tensor) -> Tensor:
    """``2 - 2 cos(q, t)``, the mean over ``(B, dim)`` rows (equation 2); no gradient reaches the target."""
    return 2 - 2 * F.cosine_similarity(predicted, target.detach(), dim=-1).mean()


class BYOL(WithTeacher, WholeBatchMethod):
    """Student with predictor against a momentum teacher, both ways; each view passes by itself."""

    Config = BYOLConfig

    def __init__(self, config: BYOLConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        hidden, dim = config.hidden_dim, config.projection_dim
        self.head = ProjectionHead(self.embedding_dim, hidden, dim, last_norm=False)
        self.predictor: nn.Module
        if config.predictor == "mlp":
            self.predictor = ProjectionHead(dim, hidden, dim, last_norm=False)
        elif config.predictor == "linear":
            self.predictor = nn.Linear(dim, dim, bias=False)
        else:
            self.predictor = ClosedFormPredictor(
                dim, config.predictor, config.predictor_memory, config.predictor_epsilon
            )
        self.teacher = MomentumTeacher(backbone, self.head)
        self.latest: Tensor | None = None

    def represent(self, batch: Batch, step: Step) -> Tensor:
        """``(B, 4, dim)``: the student's projections of both views, then the teacher's."""
        views = batch.expect_views(2, "byol")
        student = each_view(lambda view: self.head(self.backbone(view)), views)
        return torch.cat([student, each_view(self.teacher, views)], dim=1)

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        z1, z2, t1, t2 = representations.unbind(1)
        self.latest = representations.detach()
        q1, q2 = self.predictor(z1), self.predictor(z2)
        loss = prediction_error(q1, t2) + prediction_error(q2, t1)
        return {"loss": loss, "spread": spread(torch.stack([z1, z2]))}

    def after_step(self, step: Step) -> None:
        super().after_step(step)
        if isinstance(self.predictor, ClosedFormPredictor) and self.latest is not None:
            z1, z2, t1, t2 = self.latest.to(self.predictor.own).unbind(1)
            images = 2 * len(z1) * dist.world_size()
            own = dist.all_reduce_sum(z1.T @ z1 + z2.T @ z2) / images
            self.predictor.observe(own, dist.all_reduce_sum(t2.T @ z1 + t1.T @ z2) / images)
        self.latest = None

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        return collapse(logged, "BYOL", "raise method.momentum, lower optimizer.lr, or use a wider predictor")
