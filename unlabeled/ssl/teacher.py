"""The momentum teacher: a network that is never trained and follows the student as a moving average.

Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, https://arxiv.org/abs/1703.01780; with
the rising momentum of Grill et al. 2020 (BYOL, https://arxiv.org/abs/2006.07733, section 3.2).
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unlabeled.core.schedules import cosine, linear
from unlabeled.ssl.method import Kept, Method, MethodConfig, Step


class TeacherConfig(MethodConfig):
    """The settings that methods with a momentum teacher share."""

    momentum: float = Field(0.996, ge=0, le=1, description="m of the teacher's average t <- m t + (1 - m) s at first")
    momentum_end: float = Field(1.0, ge=0, le=1, description="m at the end of training, reached along a cosine")
    keep: Literal["student", "teacher"] = Field("student", description="which becomes the run's backbone")


def momentum_at(step: Step, start: float, end: float = 1.0, *, straight: bool = False) -> float:
    """``m = end - (end - start) (cos(pi t / T) + 1) / 2`` of the update that follows the t-th step, t from 0.

    Args:
        step: where training stands after the optimiser's step, as ``after_step`` gets it.
        straight: rise along a straight line instead of the cosine (I-JEPA).

    >>> momentum_at(Step(number=1, per_epoch=10, total=10, seed=0, batch_size=8), 0.99)
    0.99
    """
    passed = (step.number - 1) / max(step.total, 1)
    return (linear if straight else cosine)(start, end, passed)


class MomentumTeacher(nn.Module):
    """Copies of a backbone and a head, with no gradients and so no weight decay and no LARS.

    Parameters are averaged, in their own precision (float32 also where the passes run in half). BatchNorm normalises by
    the batch, as the student's does, and its running statistics are the teacher's *own*: they belong to its weights, an
    average of the student's would belong to none. Other buffers are copied. All else stays in eval mode, so dropout and
    stochastic depth act on the student alone. Everything is in the method's state: a resumed run has the same teacher,
    and as all ranks start from and follow the same student, theirs agree.

    Args:
        backbone: the student's backbone.
        head: what follows it; ``None`` for a teacher of embeddings.

    >>> teacher = MomentumTeacher(nn.Linear(2, 2))
    >>> teacher.follow(nn.Linear(2, 2), None, momentum=0.9)
    >>> any(p.requires_grad for p in teacher.parameters())
    False
    """

    def __init__(self, backbone: nn.Module, head: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        self.head = copy.deepcopy(head) if head is not None else nn.Identity()
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> MomentumTeacher:
        """Only BatchNorm ever leaves the eval mode."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.train(mode)
        return self

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """The head's answer to ``(B, C, h, w)`` images, without gradients."""
        answer: Tensor = self.head(self.backbone(images))
        return answer

    @torch.no_grad()
    def follow(self, backbone: nn.Module, head: nn.Module | None, momentum: float) -> None:
        """``t <- m t + (1 - m) s``; call it after the optimiser's step."""
        for own, student in ((self.backbone, backbone), (self.head, head)):
            if student is not None:
                _follow(own, student, momentum)

    def kept(self, student: nn.Module, which: Literal["student", "teacher"]) -> Kept:
        """Both backbones, the chosen one as the run's own."""
        if which == "teacher":
            return Kept(self.backbone, beside={"student": student})
        return Kept(student, beside={"teacher": self.backbone})


class WithTeacher(Method):
    """A method whose student, backbone and ``head``, is followed by a ``teacher``."""

    head: nn.Module
    teacher: MomentumTeacher

    def after_step(self, step: Step) -> None:
        """Move the teacher."""
        config = self.config
        self.teacher.follow(self.backbone, self.head, momentum_at(step, config.momentum, config.momentum_end))

    def kept(self) -> Kept:
        return self.teacher.kept(self.backbone, self.config.keep)

    def compiled_parts(self) -> list[nn.Module]:
        return [self.backbone, self.teacher.backbone]


def _follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)
    for own, other in zip(teacher.modules(), student.modules(), strict=True):
        if not isinstance(own, _BatchNorm):
            for name, buffer in own.named_buffers(recurse=False):
                buffer.copy_(other.get_buffer(name))
