"""Self-supervised label augmentation: tell class and rotation at once; a reference with labels.

Lee, Hwang and Shin, "Self-supervised label augmentation via input transformations", ICML 2020,
https://arxiv.org/abs/1910.05872.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlabeled.ssl.method import Batch, DataInfo, Kept, Method, MethodConfig, Step
from unlabeled.ssl.rotation import rotations, square

TURNS = 4


class SLAConfig(MethodConfig):
    name: Literal["sla"] = "sla"


class SLA(Method):
    """One linear layer with 4K outputs, class-major: label ``4 y + r`` for class y turned r times."""

    Config = SLAConfig
    needs_labels = True

    def __init__(self, config: SLAConfig, backbone: nn.Module, info: DataInfo) -> None:
        classes = info.classes_for("sla")
        super().__init__(config, backbone, info)
        self.head = nn.Linear(self.embedding_dim, TURNS * classes)

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        view = square(batch.expect_views(1, "sla")[0], "sla")
        assert batch.labels is not None
        images, turns = rotations(view)
        logits = self.head(self.backbone(images))
        joint = TURNS * batch.labels.repeat_interleave(TURNS) + turns
        found = logits.detach().argmax(dim=1)
        return {
            "loss": F.cross_entropy(logits, joint),
            "accuracy": (found // TURNS == joint // TURNS).float().mean(),
            "answers": torch.zeros_like(logits[0]).index_fill_(0, found, 1.0).mean(),
        }

    def kept(self) -> Kept:
        """The classifier of upright images: the joint layer's rows of rotation 0."""
        upright = copy.deepcopy(self.head)
        upright.weight, upright.bias = (nn.Parameter(p.detach()[::TURNS].clone()) for p in self.head.parameters())
        upright.out_features //= TURNS
        return Kept(self.backbone, classifier=upright)

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        """Few different answers in a batch say that the network ignores the image."""
        if logged.get("answers", 1.0) > 1.5 / self.head.out_features:
            return None
        return "SLA has collapsed: every image gets the same joint label; lower optimizer.lr."
