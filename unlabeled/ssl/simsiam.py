"""SimSiam: BYOL without the moving teacher; the gradient is stopped on one side and a predictor stands on the other.

Chen and He, "Exploring simple Siamese representation learning", CVPR 2021, https://arxiv.org/abs/2011.10566.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from unlabeled.heads.projection import ProjectionHead
from unlabeled.ssl.byol import prediction_error
from unlabeled.ssl.method import Batch, DataInfo, MethodConfig, ParameterGroup, Step
from unlabeled.ssl.whole_batch import WholeBatchMethod, collapse, each_view, spread


class SimSiamConfig(MethodConfig):
    name: Literal["simsiam"] = "simsiam"
    projection_dim: int = Field(2048, ge=2, description="size of the projection and of its hidden layers")
    predictor_dim: int = Field(512, ge=1, description="width of the predictor's hidden layer, its bottleneck")


class SimSiam(WholeBatchMethod):
    """``D(p1, z2)/2 + D(p2, z1)/2`` with the negative cosine D (equation 2); the predictor's rate is not decayed."""

    Config = SimSiamConfig

    def __init__(self, config: SimSiamConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        dim = config.projection_dim
        self.head = ProjectionHead(self.embedding_dim, dim, dim, layers=3, last_scale=False)
        self.predictor = ProjectionHead(dim, config.predictor_dim, dim, last_norm=False, last_bias=True)

    def parameter_groups(self) -> list[ParameterGroup]:
        """As usual, with the predictor at a constant rate (section 4.1 and the appendix)."""
        groups = []
        for parts, constant in (((self.backbone, self.head), False), ((self.predictor,), True)):
            trained = [p for part in parts for p in part.parameters() if p.requires_grad]
            groups.append(ParameterGroup([p for p in trained if p.ndim > 1], constant_rate=constant))
            small = [p for p in trained if p.ndim <= 1]
            groups.append(ParameterGroup(small, weight_decay=False, adapt=False, constant_rate=constant))
        return groups

    def represent(self, batch: Batch, step: Step) -> Tensor:
        return each_view(lambda view: self.head(self.backbone(view)), batch.expect_views(2, "simsiam"))

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        z1, z2 = representations.unbind(1)
        errors = prediction_error(self.predictor(z1), z2) + prediction_error(self.predictor(z2), z1)
        return {"loss": errors / 4 - 1, "spread": spread(representations)}  # 2 - 2 cos, twice: the mean of -cos

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        return collapse(logged, "SimSiam", "lower optimizer.lr, or give method.predictor_dim another width")
