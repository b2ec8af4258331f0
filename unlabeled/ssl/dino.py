"""DINO: every crop must say of an image what a slowly moving copy of the network says of the image's large crops.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski and Joulin, "Emerging properties in self-supervised vision
transformers", ICCV 2021, https://arxiv.org/abs/2104.14294.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from unlabeled.ssl.centre import Centre
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.multicrop import LARGE, embed_crops, require_large, swapped_loss
from unlabeled.ssl.self_distillation import SelfDistillation, SelfDistillationConfig, entropies


class DINOConfig(SelfDistillationConfig):
    name: Literal["dino"] = "dino"
    centre_momentum: float = Field(0.9, ge=0, lt=1, description="m of the moving average of the teacher's logits")
    hidden_norm: bool = Field(False, description="BatchNorm in the head's hidden layers; for ResNets on small data")


class DINO(SelfDistillation):
    """The student sees all crops, the teacher the two large ones; the teacher's logits are centred and sharpened."""

    Config = DINOConfig

    def __init__(self, config: DINOConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        self.centre = Centre(config.output_dim, config.centre_momentum)

    def make_head(self) -> nn.Module:
        head: nn.Module = self.config.head(self.embedding_dim, self.config.hidden_norm)
        return head

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        crops, config = batch.views, self.config
        require_large(crops, "dino")
        student = self.head(embed_crops(self.backbone, crops)).unflatten(0, (len(crops), -1))
        teacher = self.teacher(torch.cat(crops[:LARGE])).unflatten(0, (LARGE, -1))
        targets = self.centre.targets(teacher, config.teacher_temperature_at(step))
        if self.training:
            self.centre.observe(teacher)
        return {"loss": swapped_loss(student, targets, config.temperature), **entropies(targets)}

    def after_step(self, step: Step) -> None:
        super().after_step(step)
        self.centre.update()
