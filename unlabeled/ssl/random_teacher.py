"""Random-teacher distillation: a student that copies a random, frozen network learns more than it was taught.

Sarnthein, Bachmann, Anagnostidis and Hofmann, "Random teachers are good teachers", ICML 2023,
https://arxiv.org/abs/2302.12091.
"""

from __future__ import annotations

import copy
import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from unlabeled.core.precision import full_precision
from unlabeled.heads.distillation import DistillationHead
from unlabeled.ssl.method import Batch, DataInfo, Kept, Method, MethodConfig, Step


class RandomTeacherConfig(MethodConfig):
    name: Literal["random_teacher"] = "random_teacher"
    alpha: float = Field(1e-10, ge=0, le=1, description="0: the student starts as the teacher, 1: independent of it")
    output_dim: int = Field(65536, ge=2, description="logits compared; below about 256 the effect vanishes")
    hidden_dim: int = Field(2048, ge=1, description="width of the head's hidden layers")
    bottleneck_dim: int = Field(256, ge=1, description="size of the head's normalised bottleneck")
    weight_norm: bool = Field(True, description="unit-length rows in the head's last layer")


@torch.no_grad()
def draw(model: nn.Module) -> None:
    """Initialise an encoder again: kaiming-normal with fan-out for kernels and matrices, biases 0, norms 1 and 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear | _ConvNd):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif callable(reset := getattr(module, "reset_parameters", None)):
            reset()
        else:
            for token in module.parameters(recurse=False):  # a transformer's tokens and positions
                nn.init.trunc_normal_(token, std=0.02)


@torch.no_grad()
def interpolate(student: nn.Module, teacher: nn.Module, alpha: float) -> None:
    """Replace the student's parameters s by ``((1-alpha) t + alpha s) / sqrt(alpha^2 + (1-alpha)^2)``.

    The denominator keeps the variance of independent draws (section 3 of the paper). Buffers stay.
    """
    scale = math.hypot(alpha, 1 - alpha)
    for own, other in zip(student.parameters(), teacher.parameters(), strict=True):
        own.copy_(((1 - alpha) * other.double() + alpha * own.double()) / scale)


@full_precision
def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean KL(softmax(teacher) || softmax(student)) of ``(B, K)`` logits.

    Not the cross-entropy: that stands at ln K while the divergence, five orders below, falls.
    """
    log_teacher, log_student = F.log_softmax(teacher, dim=1), F.log_softmax(student, dim=1)
    return F.kl_div(log_student, log_teacher, log_target=True, reduction="batchmean")


@full_precision
def logits(head: nn.Module, embedding: Tensor) -> Tensor:
    """The head's ``(B, K)`` logits, in float32.

    Images differ by thousandths in their logits, which bfloat16 would drown; the encoder's features differ by far more.
    """
    out: Tensor = head(embedding)
    return out


class RandomTeacher(Method):
    """The student sees the very image the teacher sees; the teacher is frozen and in eval mode for ever.

    A BatchNorm teacher therefore normalises with its initial statistics (0, 1), the student with its batch's.
    The teacher's weights are in the checkpoint; its backbone is kept, and probed beside the student's.
    """

    Config = RandomTeacherConfig
    random_start = True

    def __init__(self, config: RandomTeacherConfig, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__(config, backbone, info)
        self.head = DistillationHead(
            self.embedding_dim,
            config.hidden_dim,
            config.bottleneck_dim,
            config.output_dim,
            weight_norm=config.weight_norm,
        )
        self.teacher_backbone = copy.deepcopy(backbone)
        self.teacher_head = copy.deepcopy(self.head)
        self.teacher_head.initialise()
        draw(self.backbone)
        draw(self.teacher_backbone)
        interpolate(self.backbone, self.teacher_backbone, config.alpha)
        interpolate(self.head, self.teacher_head, config.alpha)
        self.teacher_backbone.requires_grad_(False)
        self.teacher_head.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> RandomTeacher:
        """Switch the student's mode; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher_backbone.eval()
        self.teacher_head.eval()
        return self

    def kept(self) -> Kept:
        """The student, and the teacher that it should surpass."""
        return Kept(self.backbone, beside={"teacher": self.teacher_backbone})

    def compiled_parts(self) -> list[nn.Module]:
        return [self.backbone, self.teacher_backbone]

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        (view,) = batch.expect_views(1, "random_teacher")
        with torch.no_grad():
            target = logits(self.teacher_head, self.teacher_backbone(view))
        return {"loss": divergence(target, logits(self.head, self.backbone(view)))}
