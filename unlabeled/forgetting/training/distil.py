"""Teachers: how far a student's outputs are from theirs."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """``T² KL(teacher ‖ student)`` of softened outputs, mean over the batch."""
    log_student = F.log_softmax(student / temperature, 1)
    log_teacher = F.log_softmax(teacher / temperature, 1)
    return temperature**2 * F.kl_div(log_student, log_teacher, log_target=True, reduction="batchmean")
