"""What DINO, iBOT and DINOv2 share: a head with K outputs on student and teacher, and what goes wrong with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from unlabeled.core import dist
from unlabeled.core.schedules import linear
from unlabeled.heads.distillation import DistillationHead
from unlabeled.ssl.method import DataInfo, ParameterGroup, Step, grouped
from unlabeled.ssl.teacher import MomentumTeacher, TeacherConfig, WithTeacher

ALIKE = 0.01
"""A collapse is reported when images share all but this part of ln K of what the teacher says of them."""


class SelfDistillationConfig(TeacherConfig):
    keep: Literal["student", "teacher"] = Field("teacher", description="which becomes the run's backbone")
    temperature: float = Field(0.1, gt=0, description="tau of the student")
    teacher_temperature: float = Field(0.04, gt=0, description="tau of the teacher; lower sharpens its answers")
    teacher_temperature_start: float = Field(0.04, gt=0, description="tau of the teacher at the start of its warm-up")
    teacher_temperature_epochs: float = Field(0, ge=0, description="length of that warm-up, which is linear")
    freeze_epochs: int = Field(1, ge=0, description="first epochs, in which the head's last layer stays as it is")
    output_dim: int = Field(65536, ge=2, description="number of outputs K; a few thousand for small data")
    hidden_dim: int = Field(2048, ge=1, description="width of the head's hidden layers")
    bottleneck_dim: int = Field(256, ge=1, description="size of the head's normalised bottleneck")
    weight_norm: bool = Field(True, description="unit-length rows in the head's last layer")

    def head(self, in_dim: int, hidden_norm: bool = False) -> DistillationHead:
        """A new head on embeddings of size ``in_dim``."""
        return DistillationHead(
            in_dim,
            self.hidden_dim,
            self.bottleneck_dim,
            self.output_dim,
            weight_norm=self.weight_norm,
            hidden_norm=hidden_norm,
        )

    def teacher_temperature_at(self, step: Step) -> float:
        """The teacher's temperature in a step."""
        warmup = self.teacher_temperature_epochs * step.per_epoch
        passed = step.number / warmup if warmup else 1.0
        return linear(self.teacher_temperature_start, self.teacher_temperature, passed)


@torch.no_grad()
def entropies(targets: Tensor) -> dict[str, Tensor]:
    """Mean entropy of the ``(…, K)`` distributions of this rank, and the entropy of their mean over the global batch.

    Both near ln K: all answers are uniform. Both near 0: all answers are the same single output. In health the first
    is low, the second high.
    """
    rows = targets.flatten(0, -2)
    mean = dist.all_reduce_sum(rows.mean(dim=0)) / dist.world_size()
    return {
        "target_entropy": torch.special.entr(rows).sum(dim=1).mean(),
        "batch_entropy": torch.special.entr(mean).sum(),
    }


def collapse(logged: Mapping[str, float], outputs: int, name: str) -> str | None:
    """The sentence for logged :func:`entropies` that say that images cannot be told apart."""
    ceiling = math.log(outputs)
    own, batch = logged.get("target_entropy", 0.0), logged.get("batch_entropy", ceiling)
    if batch - own > ALIKE * ceiling:
        return None
    figures = f"entropy {own:.2f} an image and {batch:.2f} in their mean, ln K = {ceiling:.2f}"
    if own > ceiling / 2:
        return (
            f"{name} has collapsed: the teacher's answers are almost uniform for every image ({figures}); lower "
            "method.teacher_temperature or optimizer.lr."
        )
    return (
        f"{name} has collapsed: the teacher gives every image the same few outputs ({figures}); raise "
        "method.teacher_temperature or lower optimizer.lr."
    )


class SelfDistillation(WithTeacher):
    """A student that learns to answer as its own moving average does; both have a backbone and a head."""

    def __init__(self, config: SelfDistillationConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        self.head = self.make_head()
        self.teacher = MomentumTeacher(backbone, self.head)

    def make_head(self) -> nn.Module:
        """What stands on the backbone, made of one or several distillation heads."""
        head: nn.Module = self.config.head(self.embedding_dim)
        return head

    def last_layers(self) -> list[nn.Parameter]:
        """What stays as it was drawn in the first epochs."""
        heads = [part for part in self.head.modules() if isinstance(part, DistillationHead)]
        return [weight for head in heads for weight in head.last.parameters()]

    def after_backward(self, step: Step) -> None:
        if step.epoch < self.config.freeze_epochs:
            for weight in self.last_layers():
                weight.grad = None  # no gradient, no momentum and no weight decay either

    def parameter_groups(self) -> list[ParameterGroup]:
        return grouped(self.parameters(), apart=self.last_layers())

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        if step.epoch < self.config.freeze_epochs:
            return None
        return collapse(logged, self.config.output_dim, self.config.name)
