"""Supervised training in the same loop: the ceiling in every comparison, not a self-supervised method."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from unlabeled.ssl.method import Batch, DataInfo, Kept, Method, MethodConfig, ParameterGroup, Step


class SupervisedConfig(MethodConfig):
    name: Literal["supervised"] = "supervised"


class Supervised(Method):
    """A linear classifier on the backbone, trained with the labels by mean cross-entropy."""

    Config = SupervisedConfig
    needs_labels = True

    def __init__(self, config: SupervisedConfig, backbone: nn.Module, info: DataInfo) -> None:
        classes = info.classes_for("supervised")
        super().__init__(config, backbone, info)
        self.classifier = nn.Linear(self.embedding_dim, classes)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The default, with the classifier left out of weight decay and of LARS's adaptation."""
        encoder = [p for p in self.backbone.parameters() if p.requires_grad]
        return [
            ParameterGroup([p for p in encoder if p.ndim > 1]),
            ParameterGroup([p for p in encoder if p.ndim <= 1], weight_decay=False, adapt=False),
            ParameterGroup(list(self.classifier.parameters()), weight_decay=False, adapt=False),
        ]

    def kept(self) -> Kept:
        """The backbone and its classifier."""
        return Kept(self.backbone, classifier=self.classifier)

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        (view,) = batch.expect_views(1, "supervised")
        assert batch.labels is not None
        logits = self.classifier(self.backbone(view))
        return {
            "loss": F.cross_entropy(logits, batch.labels),
            "accuracy": (logits.detach().argmax(dim=1) == batch.labels).float().mean(),
        }
